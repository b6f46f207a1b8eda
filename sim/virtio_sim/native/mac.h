// What is behind a network device: a MAC and its cable. Present as the design has it.
#pragma once
#include <array>
#include <cstring>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "harness.h"
#include "ports.h"
#include "random.h"

namespace harness {

#ifdef VN_NET
// The checksum of Ethernet and of zlib, over one frame after another.
class Crc32 {
public:
    Crc32() {
        for (uint32_t n = 0; n < 256; n++) {
            uint32_t value = n;
            for (int bit = 0; bit < 8; bit++) value = value >> 1 ^ (value & 1 ? 0xedb88320 : 0);
            table_[n] = value;
        }
    }
    void add(const std::vector<uint8_t> &data) {
        for (uint8_t byte : data) value_ = table_[(value_ ^ byte) & 0xff] ^ value_ >> 8;
    }
    uint32_t value() const { return ~value_; }

private:
    std::array<uint32_t, 256> table_;
    uint32_t value_ = ~0u;
};

// Takes the frames of the device, and gives it others: those of the user, as fast as the cable is, or its own
// traffic. Once a frame has begun on either stream, its beats follow each other but for pauses.
class Mac {
public:
    struct Frame {
        std::vector<uint8_t> data;
        uint32_t flags = 0;
        uint32_t period = 0;  // cycles from its first beat to that of the next one at least
    };

    Mac(Vtop &top, std::string *findings) : top_(top), findings_(findings) {}

    vn_sent_fn sent = nullptr;
    vn_arrive_fn arrive = nullptr;
    void *user = nullptr;
    uint64_t frames = 0, octets = 0;
    Crc32 check;

    void clear() {
        waiting_.clear(), taken_.clear(), position_ = 0, offered_ = open_ = refused_ = false, due_ = 0;
        asks_ = true;  // what waits at the user still does
        top_.mac_port___05Freceive___05Fvalid = 0, top_.mac_port___05Ftransmit___05Fready = 0;
    }

    // The cable's state; there may be frames on it.
    void set_cable(bool up, uint32_t speed) {
        top_.mac_port___05Flink_up = up, top_.mac_port___05Fspeed = speed;
        speed_ = speed, asks_ = true;
    }

    void put(const uint8_t *data, uint32_t size, uint32_t flags) {
        uint64_t period = speed_ ? uint64_t(size + BETWEEN_FRAMES) * 8 * MBIT_PER_CYCLE / speed_ : 0;
        waiting_.push_back({{data, data + size}, flags, uint32_t(period)});
    }

    void set_traffic(const uint8_t *data, uint32_t size, uint64_t count, uint32_t period) {
        model_ = {{data, data + size}, 0, period};
        left_ = count, number_ = 0;
    }

    void drive(uint64_t now, Pauses &pauses) {
        top_.mac_port___05Ftransmit___05Fready = !pauses.next();
        if (!offered_ && (position_ || next(now)) && !pauses.next()) offer(now);
        top_.mac_port___05Freceive___05Fvalid = offered_;
    }

    // Whether something moves, or will without the device.
    bool sample(bool *frame_sent) {
        bool moved = offered_ || position_ || !waiting_.empty() || left_ || asks_;
        if (offered_ && top_.mac_port___05Freceive___05Fready) {
            offered_ = false;
            if (position_ >= waiting_.front().data.size()) waiting_.pop_front(), position_ = 0;
        }
        *frame_sent = false;
        bool valid = top_.mac_port___05Ftransmit___05Fvalid;
        bool ready = top_.mac_port___05Ftransmit___05Fready;
        if (open_ && !valid) *findings_ += "a gap in a frame of the device\n";
        else if (refused_ && !valid) *findings_ += "a frame of the device is withdrawn\n";
        refused_ = valid && !ready;
        if (valid && ready) *frame_sent = take();
        return moved || valid;
    }

private:
    static constexpr uint32_t OCTETS = 4 * LANES;
    static constexpr uint32_t FLAGS_AT = OCTETS % 32, FLAGS_WORD = LANES + OCTETS / 32;
    static constexpr uint32_t BETWEEN_FRAMES = 24;    // frame check sequence, gap and preamble
    static constexpr uint32_t MBIT_PER_CYCLE = 250;   // at 4 ns
    enum { FIRST = 1, LAST = 2, ERROR = 4, CHECKED = 8 };

    // Whether there is a frame whose time has come.
    bool next(uint64_t now) {
        if (now < due_) return false;
        if (waiting_.empty() && left_) {
            waiting_.push_back(model_);
            memcpy(&waiting_.back().data[model_.data.size() - 4], &number_, 4);
            number_++, left_--;
        }
        if (waiting_.empty() && asks_) {
            if (arrive) arrive(user);
            asks_ = !waiting_.empty();
        }
        return !waiting_.empty();
    }

    void offer(uint64_t now) {
        const Frame &frame = waiting_.front();
        if (!position_) due_ = now + frame.period;
        uint32_t *payload = &top_.mac_port___05Freceive___05Fpayload[0];
        size_t left = frame.data.size() - position_;
        uint32_t count = left < OCTETS ? uint32_t(left) : OCTETS;
        uint32_t flags = position_ ? 0 : FIRST;
        if (count == left) flags |= LAST | (frame.flags & VN_DAMAGED ? ERROR : 0) | (frame.flags & VN_CHECKED ? CHECKED : 0);
        memset(payload, 0, sizeof top_.mac_port___05Freceive___05Fpayload);
        memcpy(payload, &frame.data[position_], count);
        payload[LANES] = uint32_t((1ull << count) - 1);
        payload[FLAGS_WORD] |= flags << FLAGS_AT;
        position_ += count, offered_ = true;
    }

    // A beat of the device; whether a frame is whole.
    bool take() {
        const auto &payload = top_.mac_port___05Ftransmit___05Fpayload;
        uint32_t keep = payload[LANES] & uint32_t((1ull << OCTETS) - 1);
        uint32_t flags = payload[FLAGS_WORD] >> FLAGS_AT & 15, count = uint32_t(__builtin_popcount(keep));
        bool first = flags & FIRST, last = flags & LAST;
        if (!keep || keep != uint32_t((1ull << count) - 1)) *findings_ += "lanes that are not contiguous from lane 0\n";
        else if (!last && count != OCTETS) *findings_ += "a beat of a frame that is not full and not the last\n";
        if (first == open_) *findings_ += first ? "a frame starts inside another\n" : "a frame without a first beat\n";
        if ((flags & ERROR && !last) || flags & CHECKED) *findings_ += "a flag that does not belong on a beat\n";
        if (first) taken_.clear();
        const auto *bytes = reinterpret_cast<const uint8_t *>(&payload[0]);
        taken_.insert(taken_.end(), bytes, bytes + count);
        open_ = !last;
        if (!last || flags & ERROR) return false;
        frames++, octets += taken_.size(), check.add(taken_);
        if (sent) sent(user, taken_.data(), uint32_t(taken_.size()));
        return true;
    }

    Vtop &top_;
    std::string *findings_;
    std::deque<Frame> waiting_;
    std::vector<uint8_t> taken_;  // of the frame that the device sends
    size_t position_ = 0;         // of what was not offered of the first frame; 0: nothing of it was
    bool offered_ = false;        // to the device
    bool open_ = false, refused_ = false;  // by the device: a frame, a beat
    bool asks_ = false;           // there may be frames at the user
    uint64_t due_ = 0;            // when the next frame may begin
    uint32_t speed_ = 0;          // in Mbit/s, or 0 or all ones
    Frame model_;
    uint64_t left_ = 0;
    uint32_t number_ = 0;
};
#endif

}  // namespace harness
