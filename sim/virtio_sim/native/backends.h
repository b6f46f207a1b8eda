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
// Serves the storage port. Requests are taken at once, and carried out `latency` cycles after they are whole:
// in their order if the disk is memory, otherwise in any.
class Storage {
public:
    Storage(Vtop &top, std::string *findings) : top_(top), findings_(findings) {}

    vn_storage_fn serve = nullptr;
    void *user = nullptr;
    uint8_t *memory = nullptr;
    uint32_t latency = 0;
    uint64_t sectors = 0, flushes = 0;
    Random random{1};

    void clear() {
        reads_.clear(), writes_.clear(), others_.clear(), data_.clear();
        reading_ = answering_ = beat_offered_ = answer_offered_ = false;
        top_.storage___05Frequest___05Fready = 0, top_.storage___05Fwrite_data___05Fready = 0;
        top_.storage___05Fread_data___05Fvalid = 0, top_.storage___05Fresponse___05Fvalid = 0;
    }

    void drive(uint64_t now, Pauses &pauses) {
        top_.storage___05Fcapacity = sectors;
        bool takes = !pauses.next();
        top_.storage___05Frequest___05Fready = takes;
        top_.storage___05Fwrite_data___05Fready = (takes || !writes_.empty()) && !pauses.next();
        if (!reading_ && pick(reads_, now, &read_)) start_read();
        if (reading_ && !beat_offered_ && !pauses.next()) offer_beat();
        if (!answering_ && pick(others_, now, &answer_)) answer_.error = answer_.error || failed(answer_), answering_ = true;
        if (answering_ && !answer_offered_ && !pauses.next()) offer_answer();
        top_.storage___05Fread_data___05Fvalid = beat_offered_;
        top_.storage___05Fresponse___05Fvalid = answer_offered_;
    }

    // Whether something moves, or will without the device.
    bool sample(uint64_t now) {
        bool moved = false;
        if (top_.storage___05Frequest___05Fready && top_.storage___05Frequest___05Fvalid) take_request(now), moved = true;
        if (top_.storage___05Fwrite_data___05Fready && top_.storage___05Fwrite_data___05Fvalid) take_data(now), moved = true;
        if (beat_offered_) {
            if (top_.storage___05Fread_data___05Fready) next_beat(), moved = true;
        } else if (reading_ || !reads_.empty()) {
            moved = true;
        }
        if (answer_offered_) {
            if (top_.storage___05Fresponse___05Fready) answering_ = answer_offered_ = false, moved = true;
        } else if (answering_ || !others_.empty()) {
            moved = true;
        }
        return moved;
    }

private:
    enum Operation { READ, WRITE, FLUSH, DISCARD, WRITE_ZEROES, WRITE_ZEROES_UNMAP };

    struct Request {
        uint32_t operation, count, tag;
        uint64_t sector, due;
        bool unmap, durable, error;
        std::vector<uint8_t> data;
    };

    void take_request(uint64_t now) {
        const auto &payload = top_.storage___05Frequest___05Fpayload;
        Request request;
        request.operation = payload[0] & 7, request.unmap = payload[0] >> 3 & 1, request.durable = payload[0] >> 4 & 1;
        request.count = (payload[0] >> 5 | payload[1] << 27) & 0xffffff;
        request.sector = payload[0] >> 29 | uint64_t(payload[1]) << 3 | uint64_t(payload[2] & 0x1fff) << 35;
        request.tag = payload[2] >> 13;
        request.due = now + 1 + latency, request.error = false;
        if (request.operation > WRITE_ZEROES || (request.operation != FLUSH && !request.count)) {
            *findings_ += "a storage operation that does not exist\n";
            request.error = true, request.operation = FLUSH;
        }
        if (request.operation == READ) reads_.push_back(std::move(request));
        else if (request.operation == WRITE) writes_.push_back(std::move(request));
        else others_.push_back(std::move(request));
    }

    void take_data(uint64_t now) {
        const auto &payload = top_.storage___05Fwrite_data___05Fpayload;
        bool abort = payload[LANES] & 1, last = payload[LANES] & 2;
        if (!abort) {
            const auto *bytes = reinterpret_cast<const uint8_t *>(&payload[0]);
            data_.insert(data_.end(), bytes, bytes + 4 * LANES);
        }
        if (!last) return;
        if (writes_.empty()) {
            *findings_ += "data for a storage write that was not asked for\n";
        } else {
            Request request = std::move(writes_.front());
            writes_.pop_front();
            bool whole = data_.size() == size_t(request.count) * 512;
            if (!abort && !whole) *findings_ += "a storage write that is not as long as it said\n";
            request.error = abort || !whole, request.due = now + 1 + latency;
            request.data.swap(data_);
            others_.push_back(std::move(request));
        }
        data_.clear();
    }

    // Takes a request whose time has come.
    bool pick(std::deque<Request> &waiting, uint64_t now, Request *picked) {
        size_t due = 0;  // they are in the order of their times
        while (due < waiting.size() && waiting[due].due <= now) due++;
        if (!due) return false;
        auto at = waiting.begin() + (serve ? random.below(uint32_t(due)) : 0);
        *picked = std::move(*at);
        waiting.erase(at);
        return true;
    }

    void start_read() {
        read_.data.assign(size_t(read_.count) * 512, 0);
        read_.error = failed(read_);
        position_ = 0, reading_ = true;
    }

    // A beat or an answer, which then stays.
    void offer_beat() {
        memcpy(&top_.storage___05Fread_data___05Fpayload[0], &read_.data[position_], 4 * LANES);
        uint32_t last = position_ + 4 * LANES >= read_.data.size();
        top_.storage___05Fread_data___05Fpayload[LANES] = read_.error | last << 1 | read_.tag << 2;
        beat_offered_ = true;
    }
    void next_beat() {
        beat_offered_ = false, position_ += 4 * LANES;
        if (position_ >= read_.data.size()) reading_ = false;
    }
    void offer_answer() {
        top_.storage___05Fresponse___05Fpayload = answer_.error | answer_.tag << 1;
        answer_offered_ = true;
    }

    // Does the operation; whether it failed.
    bool failed(Request &request) {
        bool is_write = request.operation == WRITE || request.operation == WRITE_ZEROES;
        uint32_t operation = request.operation;
        if (operation == WRITE_ZEROES && request.unmap) operation = WRITE_ZEROES_UNMAP;
        if (operation == FLUSH) flushes++;
        if (serve ? serve(user, int(operation), request.sector, request.count, request.data.data()) != 0
                  : failed_in_memory(request))
            return true;
        if (!is_write || !request.durable) return false;
        flushes++;
        return serve && serve(user, FLUSH, 0, 0, nullptr) != 0;
    }

    bool failed_in_memory(Request &request) {
        if (request.operation == FLUSH) return false;
        if (!memory || request.sector > sectors || request.count > sectors - request.sector) return true;
        uint8_t *place = memory + 512 * request.sector;
        if (request.operation == READ) memcpy(request.data.data(), place, request.data.size());
        if (request.operation == WRITE) memcpy(place, request.data.data(), request.data.size());
        if (request.operation == WRITE_ZEROES) memset(place, 0, size_t(request.count) * 512);
        return false;
    }

    Vtop &top_;
    std::string *findings_;
    std::deque<Request> reads_, writes_, others_;  // writes wait for their data, and are among the others then
    std::vector<uint8_t> data_;                    // of the first write
    Request read_, answer_;
    bool reading_ = false, answering_ = false, beat_offered_ = false, answer_offered_ = false;
    size_t position_ = 0;
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
