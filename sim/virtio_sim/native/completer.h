// The host's memory controller: serves the device's reads and writes, tells interrupts from data.
#pragma once
#include <algorithm>
#include <deque>
#include <vector>

#include "harness.h"
#include "memory.h"
#include "packet.h"
#include "random.h"

namespace harness {

class Completer {
public:
    struct Message {
        uint64_t address;
        uint32_t data;
    };

    explicit Completer(const Memory &memory) : memory_(memory) {}

    std::deque<Message> messages;
    uint64_t lost_writes = 0;
    bool intx = false;
    uint64_t intx_asserted = 0;

    void set(const vn_link &link) {
        link_ = link;
        random_ = Random(link.seed ^ 0xc0ffee);
    }
    void clear() { reads_.clear(), messages.clear(), intx = false; }
    bool empty() const { return reads_.empty(); }

    // A posted request of the device; the events it means.
    uint32_t posted(const Packet &packet) {
        if (is_message(packet)) return interrupt_message(packet);
        uint64_t at = address(packet);
        const uint32_t *data = &packet[header_dwords(packet)];
        bool dword = length(packet) == 1 && first_be(packet) == 15;
        if (dword && !memory_.covers(at, 4, Memory::WRITE)) {
            messages.push_back({at, data[0]});
            return VN_MESSAGE;
        }
        lost_writes += !store(packet, at, data);
        return VN_STORED;
    }

    // A read of the device: its completions come out of `next` later.
    void read(const Packet &packet, uint64_t now) {
        uint64_t due = now + link_.memory_latency;
        if (link_.jitter) due += random_.below(link_.jitter + 1);
        if (!link_.shuffle && !reads_.empty()) due = std::max(due, reads_.back().due);
        reads_.push_back({due, complete(packet)});
    }

    // A completion whose time has come.
    bool next(Packet *packet, uint64_t now) {
        if (reads_.empty()) return false;
        size_t chosen = link_.shuffle ? random_.below(uint32_t(reads_.size())) : 0;
        for (size_t step = 0; step < reads_.size(); step++) {
            auto at = reads_.begin() + (chosen + step) % reads_.size();
            if (at->due > now) {
                if (!link_.shuffle) return false;
                continue;
            }
            *packet = std::move(at->completions.front());
            at->completions.pop_front();
            if (at->completions.empty()) reads_.erase(at);
            return true;
        }
        return false;
    }

private:
    // By default no completion is longer than the smallest Max_Payload_Size.
    static constexpr uint32_t PAYLOAD = 128;

    struct Read {
        uint64_t due;
        std::deque<Packet> completions;
    };

    uint32_t interrupt_message(const Packet &packet) {
        uint32_t code = packet[1] & 0xff;
        if (code != 0x20 && code != 0x24) return 0;  // not INTA; the checkers see it
        intx = code == 0x20;
        intx_asserted += intx;
        return VN_MESSAGE;
    }

    // Enabled bytes only; whether there is memory for all of them.
    bool store(const Packet &packet, uint64_t at, const uint32_t *data) const {
        uint32_t count = length(packet);
        if (first_be(packet) == 15 && (count == 1 || last_be(packet) == 15)) return memory_.write(at, data, 4 * count);
        bool stored = store_some(at, data[0], first_be(packet));
        if (count > 2) stored &= memory_.write(at + 4, data + 1, 4 * (count - 2));
        if (count > 1) stored &= store_some(at + 4 * (count - 1), data[count - 1], last_be(packet));
        return stored;
    }

    bool store_some(uint64_t at, uint32_t dword, uint32_t enable) const {
        bool stored = true;
        for (uint32_t byte = 0; byte < 4; byte++) {
            uint8_t value = uint8_t(dword >> 8 * byte);
            if (enable >> byte & 1) stored &= memory_.write(at + byte, &value, 1);
        }
        return stored;
    }

    static Packet header(const Packet &request, uint32_t status, uint32_t dwords, uint32_t count, uint32_t lower) {
        uint32_t common = request[0] & 0x00743000;  // traffic class, attributes
        return {(dwords ? 0x4a000000 : 0x0a000000) | common | (dwords & 0x3ff),
                status << 13 | (count & 0xfff), (request[1] & 0xffffff00) | (lower & 0x7f)};
    }

    std::deque<Packet> complete(const Packet &request) {
        uint32_t left = bytes_asked(request);
        uint64_t position = address(request) + bytes_before(first_be(request));
        if (!memory_.covers(position, left, Memory::READ)) return {header(request, 1, 0, left, uint32_t(position))};
        std::deque<Packet> made;
        uint32_t boundary = std::max(link_.boundary, 64u);
        while (left) {
            uint32_t end = link_.completion ? link_.completion - uint32_t(position % link_.completion)
                                            : boundary * (1 + random_.below(PAYLOAD / boundary)) - uint32_t(position % boundary);
            uint32_t take = std::min(left, end);
            uint32_t skip = uint32_t(position & 3), dwords = (skip + take + 3) / 4;
            Packet part = header(request, 0, dwords, left, uint32_t(position));
            part.resize(3 + dwords, 0);
            memory_.read(position, reinterpret_cast<uint8_t *>(&part[3]) + skip, take);
            made.push_back(std::move(part));
            position += take, left -= take;
        }
        return made;
    }

    const Memory &memory_;
    vn_link link_{};
    Random random_{1};
    std::deque<Read> reads_;
};

}  // namespace harness
