// What is behind the device: storage, noise, clock, vmmci's host side. Present as the design has them.
#pragma once
#include <cstring>
#include <deque>
#include <string>
#include <vector>

#include "harness.h"
#include "ports.h"
#include "random.h"

namespace harness {

#ifdef VN_BLK
// Serves the storage port, one operation after the other.
class Storage {
public:
    Storage(Vtop &top, std::string *findings) : top_(top), findings_(findings) {}

    vn_storage_fn serve = nullptr;
    void *user = nullptr;
    uint8_t *memory = nullptr;
    uint32_t latency = 0;
    uint64_t sectors = 0, flushes = 0;

    void clear() {
        state_ = IDLE, offered_ = false;
        top_.storage___05Frequest___05Fready = 0, top_.storage___05Fwrite_data___05Fready = 0;
        top_.storage___05Fread_data___05Fvalid = 0, top_.storage___05Fresponse___05Fvalid = 0;
    }

    void drive(uint64_t now, Pauses &pauses) {
        bool go = !pauses.next();
        top_.storage___05Fcapacity = sectors;
        top_.storage___05Frequest___05Fready = state_ == IDLE && go;
        top_.storage___05Fwrite_data___05Fready = state_ == TAKE && go;
        if (!offered_ && go && now >= due_) offer();
        top_.storage___05Fread_data___05Fvalid = state_ == GIVE && offered_;
        top_.storage___05Fresponse___05Fvalid = state_ == ANSWER && offered_;
    }

    // Whether something moves, or will without the device.
    bool sample(uint64_t now) {
        switch (state_) {
        case IDLE:
            if (!top_.storage___05Frequest___05Fready || !top_.storage___05Frequest___05Fvalid) return false;
            begin(now);
            return true;
        case TAKE:
            if (!top_.storage___05Fwrite_data___05Fready || !top_.storage___05Fwrite_data___05Fvalid) return false;
            take(now);
            return true;
        case GIVE:
            if (!offered_ || !top_.storage___05Fread_data___05Fready) return !offered_;
            offered_ = false, position_ += 4 * LANES;
            if (position_ >= buffer_.size()) state_ = ANSWER;
            return true;
        case ANSWER:
            if (!offered_ || !top_.storage___05Fresponse___05Fready) return !offered_;
            offered_ = false, state_ = IDLE;
            return true;
        }
        return false;
    }

private:
    enum State { IDLE, TAKE, GIVE, ANSWER };
    enum Operation { READ, WRITE, FLUSH };

    // A beat or an answer, which then stays.
    void offer() {
        if (state_ == GIVE) {
            memcpy(&top_.storage___05Fread_data___05Fpayload[0], &buffer_[position_], 4 * LANES);
            top_.storage___05Fread_data___05Fpayload[LANES] = error_;
        } else if (state_ == ANSWER) {
            top_.storage___05Fresponse___05Fpayload = error_;
        } else {
            return;
        }
        offered_ = true;
    }

    void begin(uint64_t now) {
        const auto &payload = top_.storage___05Frequest___05Fpayload;
        operation_ = payload[0] & 3;
        sector_ = payload[0] >> 2 | uint64_t(payload[1]) << 30 | uint64_t(payload[2] & 3) << 62;
        count_ = payload[2] >> 2 | payload[3] << 30;
        position_ = 0, error_ = false, due_ = now + 1 + latency, state_ = ANSWER;
        buffer_.assign(operation_ == FLUSH ? 0 : size_t(count_) * 512, 0);
        if (operation_ > FLUSH || (operation_ != FLUSH && !count_)) {
            *findings_ += "a storage operation that does not exist\n";
            error_ = true;
        } else if (operation_ == WRITE) {
            state_ = TAKE;
        } else {
            error_ = failed();
            if (operation_ == READ) state_ = GIVE;
            else flushes++;
        }
    }

    void take(uint64_t now) {
        const auto &payload = top_.storage___05Fwrite_data___05Fpayload;
        bool abort = payload[LANES] & 1, last = payload[LANES] & 2;
        if (!abort) {
            if (position_ + 4 * LANES <= buffer_.size()) memcpy(&buffer_[position_], &payload[0], 4 * LANES);
            position_ += 4 * LANES;
        }
        if (!last) return;
        bool whole = position_ == buffer_.size();
        if (!abort && !whole) *findings_ += "a storage write that is not as long as it said\n";
        error_ = abort || !whole || failed();
        state_ = ANSWER, due_ = now + 1 + latency;
    }

    // Does the operation; whether it failed.
    bool failed() {
        if (serve) return serve(user, int(operation_), sector_, count_, buffer_.data()) != 0;
        if (operation_ == FLUSH) return false;
        if (!memory || sector_ > sectors || count_ > sectors - sector_) return true;
        if (operation_ == READ) memcpy(buffer_.data(), memory + 512 * sector_, buffer_.size());
        else memcpy(memory + 512 * sector_, buffer_.data(), buffer_.size());
        return false;
    }

    Vtop &top_;
    std::string *findings_;
    State state_ = IDLE;
    uint32_t operation_ = 0, count_ = 0;
    uint64_t sector_ = 0, due_ = 0;
    bool error_ = false, offered_ = false;
    size_t position_ = 0;
    std::vector<uint8_t> buffer_;
};
#endif

#ifdef VN_RNG
// Offers a sample of the noise source in every cycle.
class Entropy {
public:
    explicit Entropy(Vtop &top) : top_(top) {}

    vn_entropy_fn source = nullptr;
    void *user = nullptr;
    Random random{1};

    void clear() { offered_ = false, top_.entropy___05Fvalid = 0; }
    void drive(Pauses &pauses) {
        if (!offered_ && !pauses.next()) {
            top_.entropy___05Fpayload = source ? source(user) : uint8_t(random.next() >> 56);
            offered_ = true;
        }
        top_.entropy___05Fvalid = offered_;
    }
    bool sample() {
        if (!offered_ || !top_.entropy___05Fready) return false;
        offered_ = false;
        return true;
    }

private:
    Vtop &top_;
    bool offered_ = false;
};
#endif

#ifdef VN_VMMCI
// The host side of vmmci.
class Vmmci {
public:
    struct Event {
        uint32_t kind, command;
    };

    explicit Vmmci(Vtop &top) : top_(top) {}

    std::deque<Event> events;
    int answer = -1;

    void clear() { waiting_ = false, answer = -1, events.clear(), top_.request___05Fvalid = 0; }
    void set_clock(uint64_t seconds, uint32_t microseconds) {
        top_.clock___05Fseconds = seconds, top_.clock___05Fmicroseconds = microseconds;
    }
    void request(uint32_t command) {
        top_.request___05Fpayload = command & 3;
        waiting_ = true, answer = -1;
    }
    void drive() { top_.request___05Fvalid = waiting_; }
    bool sample() {
        bool moved = waiting_;
        if (top_.request___05Fready) waiting_ = false;
        if (top_.answer & 1) answer = top_.answer >> 1, moved = true;
        if (top_.notice & 1) {
            events.push_back({uint32_t(top_.notice >> 1 & 3), uint32_t(top_.notice >> 3)});
            moved = true;
        }
        return moved;
    }

private:
    Vtop &top_;
    bool waiting_ = false;
};
#endif

}  // namespace harness
