// Everything random: xorshift64*, small, fast, and the same everywhere.
#pragma once
#include <cstdint>

namespace harness {

class Random {
public:
    explicit Random(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15ull + 0x1234567) {}
    uint64_t next() {
        state_ ^= state_ >> 12, state_ ^= state_ << 25, state_ ^= state_ >> 27;
        return state_ * 0x2545f4914f6cdd1dull;
    }
    uint32_t below(uint32_t n) { return uint32_t((next() >> 32) * n >> 32); }

private:
    uint64_t state_;
};

// Whether a stream pauses in a cycle.
class Pauses {
public:
    void set(uint32_t per_mille, uint64_t seed) { per_mille_ = per_mille, random_ = Random(seed); }
    bool next() { return per_mille_ && random_.below(1000) < per_mille_; }

private:
    uint32_t per_mille_ = 0;
    Random random_{0};
};

}  // namespace harness
