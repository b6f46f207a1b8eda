// The raw streams of the verilated design. One library is one design.
#pragma once
#include <deque>
#include <string>
#include <utility>

#include "Vtop.h"
#include "packet.h"
#include "random.h"
#include "verilated.h"

#ifndef VN_WIDTH
#error "VN_WIDTH is the width of the design's data path in bits"
#endif

namespace harness {

constexpr uint32_t LANES = VN_WIDTH / 32;

// Packets onto the stream rx, one beat per cycle.
class RxStream {
public:
    explicit RxStream(Vtop &top) : top_(top) {}
    size_t size() const { return queue_.size(); }
    void push(Packet packet, bool cut = false) { queue_.push_back({std::move(packet), cut}); }
    void clear() { queue_.clear(), offered_ = false, position_ = 0, top_.rx___05Fvalid = 0; }

    // Before the clock edge: offer a beat. A beat once offered stays.
    void drive(Pauses &pauses) {
        if (!offered_ && !queue_.empty() && !pauses.next()) offer();
        top_.rx___05Fvalid = offered_;
    }

    // With the outputs for what was driven: whether a beat moves. `done` gets the packet if it was its
    // last, and nothing of one that was cut.
    bool sample(Packet *done) {
        done->clear();
        if (!offered_ || !top_.rx___05Fready) return false;
        offered_ = false;
        Entry &entry = queue_.front();
        if (position_ >= entry.end()) {
            if (!entry.cut) *done = std::move(entry.packet);
            queue_.pop_front();
            position_ = 0;
        }
        return true;
    }

private:
    struct Entry {
        Packet packet;
        bool cut;
        // Dwords that are sent: a cut packet lacks its last beat.
        size_t end() const { return cut ? (packet.size() - 1) / LANES * LANES : packet.size(); }
    };

    void offer() {
        const Packet &packet = queue_.front().packet;
        size_t size = packet.size();
        uint32_t enable = 0, first = position_ == 0, last = position_ + LANES >= size;
        for (uint32_t lane = 0; lane < LANES; lane++) {
            bool used = position_ + lane < size;
            top_.rx___05Fpayload[lane] = used ? packet[position_ + lane] : 0;
            enable |= uint32_t(used) << lane;
        }
        top_.rx___05Fpayload[LANES] = enable | first << LANES | last << (LANES + 1);
        position_ += LANES;
        offered_ = true;
    }

    Vtop &top_;
    std::deque<Entry> queue_;
    size_t position_ = 0;
    bool offered_ = false;
};

// Packets from the stream tx, and what is wrong with its framing.
class TxStream {
public:
    explicit TxStream(Vtop &top) : top_(top) {}
    void clear() { packet_.clear(), open_ = false, top_.tx___05Fready = 0; }
    void drive(bool ready) { top_.tx___05Fready = ready; }

    // Whether a beat moves; `done` gets the packet if it was its last.
    bool sample(Packet *done, std::string *findings) {
        done->clear();
        if (!top_.tx___05Fvalid || !top_.tx___05Fready) return false;
        uint32_t flags = top_.tx___05Fpayload[LANES];
        uint32_t enable = flags & ((1u << LANES) - 1);
        bool first = flags >> LANES & 1, last = flags >> (LANES + 1) & 1;
        uint32_t count = __builtin_popcount(enable);
        if (!enable || enable != (1u << count) - 1) *findings += "dword enables that are not contiguous from lane 0\n";
        else if (!last && count != LANES) *findings += "a beat that is not full and not the last\n";
        if (first == open_) *findings += first ? "a packet starts inside another\n" : "a packet without a first beat\n";
        if (first) packet_.clear();
        for (uint32_t lane = 0; lane < count; lane++) packet_.push_back(top_.tx___05Fpayload[lane]);
        open_ = !last;
        if (last) done->swap(packet_), packet_.clear();
        return true;
    }

private:
    Vtop &top_;
    Packet packet_;
    bool open_ = false;
};

}  // namespace harness
