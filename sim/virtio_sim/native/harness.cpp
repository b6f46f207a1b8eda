// The endpoint and its host, cycle by cycle.
#include "harness.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>

#include "Vtop.h"
#include "backends.h"
#include "completer.h"
#include "link.h"
#include "mac.h"
#include "memory.h"
#include "packet.h"
#include "ports.h"
#include "random.h"
#include "verilated.h"
#if VM_TRACE
#include "verilated_vcd_c.h"
#endif

namespace {

using namespace harness;

constexpr uint32_t HOST = 0x0000;      // requester id of the host's own accesses
constexpr uint32_t INJECTOR = 0x00ff;  // and of injected requests, whose answers are taken aside
constexpr uint32_t RESET_CYCLES = 4;
constexpr size_t RX_AHEAD = 2;  // packets at the device before completions wait at the host

}  // namespace

struct vn {
    explicit vn(const vn_link &link)
        : context(std::make_unique<VerilatedContext>()), top(std::make_unique<Vtop>(context.get())), rx(*top),
          tx(*top), completer(memory)
#ifdef VN_BLK
          ,
          storage(*top, &findings)
#endif
#ifdef VN_RNG
          ,
          entropy(*top)
#endif
#ifdef VN_NET
          ,
          mac(*top, &findings)
#endif
#ifdef VN_VMMCI
          ,
          vmmci(*top)
#endif
    {
#if VM_TRACE
        context->traceEverOn(true);
#endif
        set_link(link);
        reset();
    }

    ~vn() {
        top->final();
#if VM_TRACE
        if (waves) waves->close();
#endif
    }

    void set_link(const vn_link &link) {
        settings = link;
        to_device.set(link), to_host.set(link), completer.set(link);
        pauses.set(link.stall, link.seed);
#ifdef VN_BLK
        storage.random = Random(link.seed + 2);
#endif
#ifdef VN_RNG
        entropy.random = Random(link.seed + 1);
#endif
    }

    void reset() {
        rx.clear(), tx.clear(), to_device.clear(), to_host.clear(), completer.clear();
        answers.clear(), done.clear();
#ifdef VN_BLK
        storage.clear();
#endif
#ifdef VN_RNG
        entropy.clear();
#endif
#ifdef VN_NET
        mac.clear();
#endif
#ifdef VN_VMMCI
        vmmci.clear();
#endif
        top->rst = 1;
        for (uint32_t n = 0; n < RESET_CYCLES; n++) edge(), cycles++;
        top->rst = 0;
        still_since = cycles;
    }

    // The design's inputs are registers at its top: outputs behind the edge are those for the inputs before.
    void edge() {
        top->clk = 1;
        top->eval();
        dump(0);
        top->clk = 0;
        top->eval();
        dump(2);
    }

    void dump([[maybe_unused]] uint32_t ns) {
#if VM_TRACE
        if (waves) waves->dump(4 * cycles + ns);
#endif
    }

    // One clock cycle; the events of it.
    uint32_t cycle() {
        Packet packet;
        while (to_device.receive(&packet, cycles)) into_device(std::move(packet));
        rx.drive(pauses);
        tx.drive(to_host.accepts(cycles) && has_credits() && !pauses.next());
        drive_backends();
        edge();

        bool moved = rx.sample(&packet);
        if (!packet.empty()) log(packet, false);
        moved |= tx.sample(&packet, &findings);
        if (!packet.empty()) from_device(std::move(packet));
        uint32_t events = 0;
        moved |= sample_backends(&events);
        cycles++;

        while (to_host.receive(&packet, cycles)) events |= at_host(packet);
        // Completions that wait do so here, where they can still change places.
        if (rx.size() < RX_AHEAD && to_device.ready(cycles) && completer.next(&packet, cycles))
            to_device.send(std::move(packet), cycles);
        if (moved || rx.size() || !to_device.empty() || !to_host.empty() || !completer.empty()) still_since = cycles;
        if (!rx.size() && to_device.empty()) events |= VN_TAKEN;
        return events;
    }

    bool has_credits() const { return !settings.posted_credits || to_host.size() < settings.posted_credits; }

    void drive_backends() {
#ifdef VN_BLK
        storage.drive(cycles, pauses);
#endif
#ifdef VN_RNG
        entropy.drive(pauses);
#endif
#ifdef VN_NET
        mac.drive(cycles, pauses);
#endif
#ifdef VN_VMMCI
        vmmci.drive();
#endif
    }

    bool sample_backends([[maybe_unused]] uint32_t *events) {
        bool moved = false;
#ifdef VN_BLK
        moved |= storage.sample(cycles);
#endif
#ifdef VN_RNG
        moved |= entropy.sample();
#endif
#ifdef VN_NET
        bool frame_sent;
        moved |= mac.sample(&frame_sent);
        if (frame_sent) *events |= VN_SENT;
#endif
#ifdef VN_VMMCI
        moved |= vmmci.sample();
#endif
        return moved;
    }

    // A packet at the device's end of the link.
    void into_device(Packet packet) {
        if (tamper && is_completion(packet)) {
            tamper(tamper_user, packet.data(), uint32_t(packet.size()));
            return;
        }
        rx.push(std::move(packet));
    }

    void from_device(Packet packet) {
        if (packet.size() < header_dwords(packet)) {
            findings += "a packet that is shorter than its header\n";
            return;
        }
        log(packet, true);
        if (!is_whole(packet)) {
            findings += "a packet that is not as long as its header says\n";
            return;
        }
        to_host.send(std::move(packet), cycles);
    }

    uint32_t at_host(const Packet &packet) {
        if (is_completion(packet)) {
            if (requester_of_completion(packet) == INJECTOR) {
                answers.push_back(packet);
                return VN_ANSWER;
            }
            done.push_back(packet);
            return 0;
        }
        if (is_posted(packet)) return completer.posted(packet);
        if (type(packet) == MEMORY) completer.read(packet, cycles);
        else findings += "a request that no root complex takes\n";
        return 0;
    }

    uint32_t run(uint64_t count, uint32_t stop_at, uint32_t quiet) {
        uint32_t events = 0;
        for (uint64_t n = 0; n < count; n++) {
            events |= cycle();
            if (quiet && cycles - still_since >= quiet) events |= VN_QUIET;
            if (events & stop_at) break;
        }
        return events;
    }

    int access(uint32_t fmt_type, uint64_t at, uint32_t size, uint64_t *data, uint64_t timeout) {
        uint32_t before = uint32_t(at & 3), dwords = (before + size + 3) / 4;
        uint64_t enable = ((1ull << size) - 1) << before;
        uint32_t first = enable & 15, last = dwords > 1 ? uint32_t(enable >> 4 * (dwords - 1)) : 0;
        bool configuration = (fmt_type & 0x1e) == CONFIG_0;
        bool posted = fmt_type == 0x40 || fmt_type == 0x60;
        last_tag = posted ? last_tag : (last_tag + 1) % 32;
        Packet packet = {fmt_type << 24 | dwords, HOST << 16 | last_tag << 8 | last << 4 | first};
        if (fmt_type & 0x20) packet.push_back(uint32_t(at >> 32));
        // Bus 1, device 0, function 0, then the register number.
        packet.push_back(configuration ? 0x01000000 | (uint32_t(at) & 0xffc) : uint32_t(at) & ~3u);
        if (fmt_type & 0x40) {
            unsigned __int128 shifted = (unsigned __int128)(*data) << 8 * before;
            for (uint32_t n = 0; n < dwords; n++) packet.push_back(uint32_t(shifted >> 32 * n));
        }
        to_device.send(std::move(packet), cycles);
        if (posted) {
            while (!to_device.ready(cycles)) cycle();
            return 0;
        }
        unsigned __int128 found = 0;
        uint32_t got = 0, wanted = (fmt_type & 0x40) ? 0 : dwords;
        for (uint64_t n = 0; n < timeout; n++) {
            cycle();
            for (; !done.empty(); done.pop_front()) {
                const Packet &part = done.front();
                if (tag_of_completion(part) != last_tag || requester_of_completion(part) != HOST) continue;
                if (uint32_t status = part[1] >> 13 & 7) return int(status);
                for (size_t k = 3; k < part.size() && got < dwords; k++)
                    found |= (unsigned __int128)(part[k]) << 32 * got++;
                if (got < wanted) continue;
                if (wanted) *data = uint64_t(found >> 8 * before) & (size == 8 ? ~0ull : (1ull << 8 * size) - 1);
                return 0;
            }
        }
        return -1;
    }

    void log(const Packet &packet, bool from) {
        if (!logging) return;
        logged.push_back(uint32_t(packet.size()) | uint32_t(from) << 31);
        logged.push_back(uint32_t(cycles)), logged.push_back(uint32_t(cycles >> 32));
        logged.insert(logged.end(), packet.begin(), packet.end());
    }

    std::unique_ptr<VerilatedContext> context;
    std::unique_ptr<Vtop> top;
#if VM_TRACE
    std::unique_ptr<VerilatedVcdC> waves;
#endif
    vn_link settings{};
    Pauses pauses;
    std::string findings, findings_told;
    uint64_t cycles = 0, still_since = 0;
    RxStream rx;
    TxStream tx;
    Wire to_device, to_host;
    Memory memory;
    Completer completer;
#ifdef VN_BLK
    Storage storage;
#endif
#ifdef VN_RNG
    Entropy entropy;
#endif
#ifdef VN_NET
    Mac mac;
#endif
#ifdef VN_VMMCI
    Vmmci vmmci;
#endif
    std::deque<Packet> answers, done;
    bool logging = false;
    uint32_t last_tag = 0;
    std::vector<uint32_t> logged;
    vn_tamper_fn tamper = nullptr;
    void *tamper_user = nullptr;
};

extern "C" {

vn *vn_create(const vn_link *link) { return new vn(*link); }
void vn_destroy(vn *v) { delete v; }
void vn_reset(vn *v) { v->reset(); }
void vn_set_link(vn *v, const vn_link *link) { v->set_link(*link); }

int vn_waves(vn *v, const char *path) {
#if VM_TRACE
    v->waves = std::make_unique<VerilatedVcdC>();
    v->top->trace(v->waves.get(), 99);
    v->waves->open(path);
    return 0;
#else
    (void)v, (void)path;
    return -1;
#endif
}

uint64_t vn_cycles(const vn *v) { return v->cycles; }
uint32_t vn_run(vn *v, uint64_t cycles, uint32_t stop_at, uint32_t quiet) { return v->run(cycles, stop_at, quiet); }

int vn_map(vn *v, uint64_t address, void *memory, uint64_t size, uint32_t flags) {
    return v->memory.map(address, memory, size, flags) ? 0 : -1;
}
int vn_unmap(vn *v, uint64_t address, uint64_t size) { return v->memory.unmap(address, size) ? 0 : -1; }

int vn_access(vn *v, uint32_t type, uint64_t address, uint32_t size, uint64_t *data, uint64_t timeout) {
    return v->access(type, address, size, data, timeout);
}

void vn_inject(vn *v, const uint32_t *dwords, uint32_t count, int cut) {
    v->rx.push(Packet(dwords, dwords + count), cut);
}

uint32_t vn_answer(vn *v, uint32_t *dwords, uint32_t room) {
    if (v->answers.empty() || v->answers.front().size() > room) return 0;
    Packet packet = std::move(v->answers.front());
    v->answers.pop_front();
    std::copy(packet.begin(), packet.end(), dwords);
    return uint32_t(packet.size());
}

void vn_set_tamper(vn *v, vn_tamper_fn tamper, void *user) { v->tamper = tamper, v->tamper_user = user; }

int vn_message(vn *v, uint64_t *address, uint32_t *data) {
    auto &messages = v->completer.messages;
    if (messages.empty()) return 0;
    *address = messages.front().address, *data = messages.front().data;
    messages.pop_front();
    return 1;
}
int vn_intx(const vn *v) { return v->completer.intx; }
uint64_t vn_intx_asserted(const vn *v) { return v->completer.intx_asserted; }
uint64_t vn_lost_writes(const vn *v) { return v->completer.lost_writes; }

void vn_set_log(vn *v, int on) { v->logging = on; }
size_t vn_log(vn *v, uint32_t *words, size_t room) {
    size_t count = std::min(room, v->logged.size());
    std::copy_n(v->logged.begin(), count, words);
    v->logged.erase(v->logged.begin(), v->logged.begin() + count);
    return count;
}
const char *vn_findings(vn *v) {
    v->findings_told.swap(v->findings);
    v->findings.clear();
    return v->findings_told.c_str();
}

// A design without the port in question ignores these.
void vn_set_storage(vn *v, vn_storage_fn serve, void *user, uint64_t sectors) {
#ifdef VN_BLK
    v->storage.serve = serve, v->storage.user = user;
    v->storage.sectors = sectors, v->storage.latency = 0;
#else
    (void)v, (void)serve, (void)user, (void)sectors;
#endif
}
void vn_set_storage_memory(vn *v, uint8_t *memory, uint64_t sectors, uint32_t latency) {
#ifdef VN_BLK
    v->storage.serve = nullptr, v->storage.memory = memory;
    v->storage.sectors = sectors, v->storage.latency = latency;
#else
    (void)v, (void)memory, (void)sectors, (void)latency;
#endif
}
uint64_t vn_flushes(const vn *v) {
#ifdef VN_BLK
    return v->storage.flushes;
#else
    (void)v;
    return 0;
#endif
}
void vn_set_entropy(vn *v, vn_entropy_fn source, void *user) {
#ifdef VN_RNG
    v->entropy.source = source, v->entropy.user = user;
#else
    (void)v, (void)source, (void)user;
#endif
}
void vn_set_clock(vn *v, uint64_t seconds, uint32_t microseconds) {
#ifdef VN_VMMCI
    v->vmmci.set_clock(seconds, microseconds);
#else
    (void)v, (void)seconds, (void)microseconds;
#endif
}
int vn_command(vn *v, uint32_t command, uint64_t timeout) {
#ifdef VN_VMMCI
    v->vmmci.request(command);
    for (uint64_t n = 0; n < timeout && v->vmmci.answer < 0; n++) v->cycle();
    return v->vmmci.answer;
#else
    (void)v, (void)command, (void)timeout;
    return -1;
#endif
}
int vn_event(vn *v, uint32_t *kind, uint32_t *command) {
#ifdef VN_VMMCI
    if (v->vmmci.events.empty()) return 0;
    *kind = v->vmmci.events.front().kind, *command = v->vmmci.events.front().command;
    v->vmmci.events.pop_front();
    return 1;
#else
    (void)v, (void)kind, (void)command;
    return 0;
#endif
}
void vn_set_network(vn *v, vn_sent_fn sent, vn_arrive_fn arrive, void *user) {
#ifdef VN_NET
    v->mac.sent = sent, v->mac.arrive = arrive, v->mac.user = user;
#else
    (void)v, (void)sent, (void)arrive, (void)user;
#endif
}
void vn_set_cable(vn *v, int link_up, uint32_t speed) {
#ifdef VN_NET
    v->mac.set_cable(link_up, speed);
#else
    (void)v, (void)link_up, (void)speed;
#endif
}
void vn_frame(vn *v, const uint8_t *data, uint32_t size, uint32_t flags) {
#ifdef VN_NET
    v->mac.put(data, size, flags);
#else
    (void)v, (void)data, (void)size, (void)flags;
#endif
}
void vn_set_traffic(vn *v, const uint8_t *data, uint32_t size, uint64_t count, uint32_t period) {
#ifdef VN_NET
    v->mac.set_traffic(data, size, count, period);
#else
    (void)v, (void)data, (void)size, (void)count, (void)period;
#endif
}
uint32_t vn_sent(const vn *v, uint64_t *frames, uint64_t *octets) {
#ifdef VN_NET
    *frames = v->mac.frames, *octets = v->mac.octets;
    return v->mac.check.value();
#else
    (void)v;
    return *frames = *octets = 0;
#endif
}

}  // extern "C"
