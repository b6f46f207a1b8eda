"""Designs in shared libraries: the endpoint, and one that sends back whatever it gets."""

from functools import cache
from pathlib import Path

from virtio_sim.build import native_library
from virtio_sim.config import Configuration
from virtio_sim.hdl import generate

__all__ = ["BLK", "BLK_TRANSITIONAL", "RNG", "VMMCI", "echo_library", "endpoint_library"]

#: In cycles: far beyond what the host here takes for an answer, and short enough to wait for.
PATIENCE = 5_000
RNG = Configuration("rng", 64, completion_timeout=PATIENCE, config_hold=PATIENCE)
BLK = Configuration("blk", 128, completion_timeout=PATIENCE, config_hold=PATIENCE)
BLK_TRANSITIONAL = Configuration(
    "blk",
    64,
    queue_size=16,
    interface="transitional",
    completion_timeout=PATIENCE,
    config_hold=PATIENCE,
)
VMMCI = Configuration("vmmci", 64, config_hold=PATIENCE, ack_timeout=5_000, shutdown_timeout=10_000)

ECHO = """
module virtio_endpoint(clk, rst, rx__payload, rx__valid, rx__ready, tx__payload, tx__valid, tx__ready);
  input clk;
  input rst;
  input [{top}:0] rx__payload;
  input rx__valid;
  output rx__ready;
  output [{top}:0] tx__payload;
  output tx__valid;
  input tx__ready;
  reg [{top}:0] payload;
  reg valid;
  assign rx__ready = ~valid | tx__ready;
  assign tx__payload = payload;
  assign tx__valid = valid;
  always @(posedge clk) begin
    if (rx__ready) begin
      payload <= rx__payload;
      valid <= rx__valid;
    end
    if (rst) valid <= 0;
  end
endmodule
"""


@cache
def endpoint_library(configuration: Configuration) -> Path:
    """An endpoint with its host."""
    return native_library(generate(configuration), configuration)


@cache
def echo_library(width: int, *, waves: bool = False) -> Path:
    """A device that sends each packet back a cycle after it got it, with nothing behind it.

    A packet injected is one that the device sends; and a completion of the host for it comes back as
    an answer, if the requester id is that of injected packets.
    """
    verilog = ECHO.format(top=width + width // 32 + 1)
    configuration = Configuration("blk", width, ram_sectors=1)
    return native_library(verilog, configuration, waves=waves)
