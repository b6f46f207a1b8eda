// One direction of the link: bandwidth, then latency, in order.
#pragma once
#include <algorithm>
#include <deque>
#include <utility>

#include "harness.h"
#include "packet.h"

namespace harness {

class Wire {
public:
    void set(const vn_link &link) { link_ = link; }
    void clear() { packets_.clear(), free_at_ = 0; }
    bool empty() const { return packets_.empty(); }
    // Packets under way or waiting for the wire.
    size_t size() const { return packets_.size(); }

    void send(Packet packet, uint64_t now) {
        uint64_t start = std::max(now * 1000, free_at_), end = start;
        if (link_.bytes_per_kilocycle) {
            uint64_t bytes = 4 * packet.size() + link_.packet_bytes;
            end += bytes * 1000000 / link_.bytes_per_kilocycle;
        }
        free_at_ = end;
        packets_.push_back({start, (end + 999) / 1000 + link_.latency, std::move(packet)});
    }

    // Whether the wire has room for another packet: it is free in the next cycle at the latest.
    bool ready(uint64_t now) const { return free_at_ <= (now + 1) * 1000; }

    // Whether there is a place for another packet behind the one that is being sent.
    bool accepts(uint64_t now) const {
        size_t waiting = 0;
        for (auto sent = packets_.rbegin(); sent != packets_.rend() && sent->start > now * 1000; ++sent) waiting++;
        return waiting < PLACES;
    }

    bool receive(Packet *packet, uint64_t now) {
        if (packets_.empty() || packets_.front().arrival > now) return false;
        *packet = std::move(packets_.front().packet);
        packets_.pop_front();
        return true;
    }

private:
    static constexpr size_t PLACES = 4;  // as on the cocotb backend
    struct Sent {
        uint64_t start;  // in thousandths of a cycle
        uint64_t arrival;
        Packet packet;
    };
    vn_link link_{};
    std::deque<Sent> packets_;
    uint64_t free_at_ = 0;  // in thousandths of a cycle
};

}  // namespace harness
