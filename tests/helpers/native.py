"""Designs in shared libraries: the endpoint, and one that sends back whatever it gets."""

from functools import cache
from pathlib import Path

from virtio_sim.build import native_library
from virtio_sim.config import Configuration, impatient
from virtio_sim.hdl import generate

__all__ = [
    "BLK",
    "BLK_TRANSITIONAL",
    "NET",
    "NET_PAIRS",
    "RNG",
    "VMMCI",
    "echo_library",
    "endpoint_library",
    "loop_library",
]

RNG, BLK = impatient(Configuration("rng", 64)), impatient(Configuration("blk", 128))
BLK_TRANSITIONAL = impatient(Configuration("blk", 64, queue_size=16, interface="transitional"))
NET, NET_PAIRS = impatient(Configuration("net", 64)), impatient(Configuration("net", 256, queues=3))
VMMCI = impatient(Configuration("vmmci", 64))

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

#: Bits 31 down to 28 of the speed turn round those of checked, error, last and first, bit 27 that of lane 0.
LOOP = """
module virtio_endpoint(clk, rst, rx__payload, rx__valid, rx__ready, tx__payload, tx__valid, tx__ready,
  mac_port__receive__payload, mac_port__receive__valid, mac_port__receive__ready,
  mac_port__transmit__payload, mac_port__transmit__valid, mac_port__transmit__ready,
  mac_port__link_up, mac_port__speed);
  input clk;
  input rst;
  input [{raw}:0] rx__payload;
  input rx__valid;
  output rx__ready;
  output [{raw}:0] tx__payload;
  output tx__valid;
  input tx__ready;
  input [{top}:0] mac_port__receive__payload;
  input mac_port__receive__valid;
  output mac_port__receive__ready;
  output [{top}:0] mac_port__transmit__payload;
  output mac_port__transmit__valid;
  input mac_port__transmit__ready;
  input mac_port__link_up;
  input [31:0] mac_port__speed;
  reg [{top}:0] payload;
  reg valid;
  assign rx__ready = 1;
  assign tx__payload = 0;
  assign tx__valid = 0;
  assign mac_port__receive__ready = ~valid | mac_port__transmit__ready;
  assign mac_port__transmit__valid = valid & mac_port__link_up;
  assign mac_port__transmit__payload = payload
    ^ {{mac_port__speed[31:28], {{{others}{{1'b0}}}}, mac_port__speed[27], {{{width}{{1'b0}}}}}};
  always @(posedge clk) begin
    if (mac_port__receive__ready) begin
      payload <= mac_port__receive__payload;
      valid <= mac_port__receive__valid;
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


@cache
def loop_library(width: int) -> Path:
    """A device that sends every frame back a cycle after it got it, changed as its cable's speed says.

    While there is no link, it offers nothing.
    """
    lanes = width // 8
    verilog = LOOP.format(raw=width + width // 32 + 1, top=width + lanes + 3, others=lanes - 1, width=width)
    return native_library(verilog, Configuration("net", width))
