"""A device core in plain Python, for a register front end alone."""

from typing import Any

from amaranth_virtio.core.interface import QueueRegisters

__all__ = ["CoreStub"]


class CoreStub:
    """What a front end tells its core, as a list of events; and the core's memories, without its rules.

    ``run`` is a background bench. All other outputs of the core are for the test to set. Events:
    ``("status", value)``, ``("features", enable, data)``, ``("features unknown",)``, ``("queue", number,
    enable, data)``, ``("config vector", enable, data)``, ``("config write", dword, enable, data)``,
    ``("config read", dword, enable)``, ``("generation read",)``, ``("isr read",)``, ``("kick", queue)`` and
    ``("write",)``, which is last of its cycle. Data has 0 in bytes that are not enabled. ``legacy`` has for
    each cycle with events which rules held.
    """

    def __init__(self, core: Any, *, queues: int = 3, queue_size: int = 64, config: bytes = b""):
        self.core = core
        self.queues = {number: 0xFFFF << 16 | queue_size for number in range(queues)}
        self.config = config
        self.events: list[tuple[Any, ...]] = []
        self.legacy: list[int] = []

    async def take(self, ctx: Any) -> list[tuple[Any, ...]]:
        """The events since the last call, up to an access that has just been accepted."""
        await ctx.tick().repeat(2)
        events, self.events = self.events, []
        return events

    def registers(self, queue: int) -> Any:
        """What the registers of ``queue`` are."""
        return QueueRegisters.from_bits(self.queues.get(queue, 0xFFFF << 16))

    def set_registers(self, queue: int, **fields: int) -> None:
        """Change registers of ``queue``; seen by the next access."""
        now = self.registers(queue)
        names = ("size", "vector", "enable", "desc", "driver", "device")
        found = {name: fields.get(name, now[name]) for name in names}
        self.queues[queue] = QueueRegisters.const(found).as_bits()

    async def run(self, ctx: Any) -> None:
        """Record events and look up registers, cycle by cycle."""
        core = self.core
        names = (
            *("legacy", "active", "write", "status_write", "status_data"),
            *("driver_features_enable", "driver_features_data", "driver_features_unknown"),
            *("queue", "queue_enable", "queue_data", "config_vector_enable", "config_vector_data"),
            *("config_index", "config_read", "config_enable", "config_write_data"),
            *("generation_read", "isr_read"),
        )
        signals = [getattr(core, name) for name in names]
        before: dict[str, Any] = dict.fromkeys(names, 0)
        ctx.set(core.registers, self.registers(0))
        while True:
            _, _, kick, kicked, *values = await ctx.tick().sample(core.kick.valid, core.kick.p, *signals)
            now = dict(zip(names, values, strict=True))
            events = self._events(now)
            if kick:
                events.append(("kick", kicked))
            if now["write"]:
                events.append(("write",))
            if events:
                assert now["active"] and before["active"], "an access is not announced"
                assert now["queue"] == before["queue"], "registers are not those of the queue"
                self.legacy.append(now["legacy"])
            self.events += events
            if now["queue_enable"] and now["queue"] in self.queues:
                lanes = enabled(now["queue_enable"])
                self.queues[now["queue"]] &= ~lanes
                self.queues[now["queue"]] |= now["queue_data"].as_bits() & lanes
            ctx.set(core.registers, self.registers(now["queue"]))
            before = now

    async def answer_config(self, ctx: Any) -> None:
        """Background bench: device configuration, in the same cycle."""
        while True:
            start = 4 * ctx.get(self.core.config_index)
            ctx.set(self.core.config_data, int.from_bytes(self.config[start : start + 4], "little"))
            await ctx.changed(self.core.config_index)

    def _events(self, now: dict[str, Any]) -> list[tuple[Any, ...]]:
        events: list[tuple[Any, ...]] = []
        if now["status_write"]:
            events.append(("status", now["status_data"]))
        if enable := now["driver_features_enable"]:
            events.append(("features", enable, now["driver_features_data"] & enabled(enable)))
        if now["driver_features_unknown"]:
            events.append(("features unknown",))
        if enable := now["queue_enable"]:
            events.append(("queue", now["queue"], enable, now["queue_data"].as_bits() & enabled(enable)))
        if enable := now["config_vector_enable"]:
            events.append(("config vector", enable, now["config_vector_data"] & enabled(enable)))
        if enable := now["config_enable"]:
            data = now["config_write_data"] & enabled(enable)
            events.append(("config write", now["config_index"], enable, data))
        if enable := now["config_read"]:
            events.append(("config read", now["config_index"], enable))
        events += [(name.replace("_", " "),) for name in ("generation_read", "isr_read") if now[name]]
        return events


def enabled(lanes: int) -> int:
    """The bits of the enabled byte lanes."""
    return sum(0xFF << 8 * lane for lane in range(lanes.bit_length()) if lanes >> lane & 1)
