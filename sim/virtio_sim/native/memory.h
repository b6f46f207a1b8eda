// Host memory: what was mapped, by address.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <map>

namespace harness {

// A driver reads and writes its rings while the device does, so copying them is not free to touch a byte twice or in
// any order, as memcpy is: it may store the eight bytes of a used descriptor twice, and between the two the driver has
// made that descriptor available again. Here each byte is touched once, upwards, in pieces as large as their alignment.
template <typename Piece> void store_piece(uint8_t *to, const uint8_t *from) {
    Piece piece;
    memcpy(&piece, from, sizeof piece);
    __atomic_store_n(reinterpret_cast<Piece *>(to), piece, __ATOMIC_RELEASE);
}

template <typename Piece> void load_piece(uint8_t *to, const uint8_t *from) {
    Piece piece = __atomic_load_n(reinterpret_cast<const Piece *>(from), __ATOMIC_ACQUIRE);
    memcpy(to, &piece, sizeof piece);
}

// Bytes of the next piece: as many as the address is a multiple of, up to 8, and as are left.
inline uint64_t piece_size(const uint8_t *shared, uint64_t left) {
    uint64_t size = 8;
    while (size > left || reinterpret_cast<uintptr_t>(shared) % size) size /= 2;
    return size;
}

inline void store_shared(uint8_t *to, const uint8_t *from, uint64_t size) {
    for (uint64_t step; size; to += step, from += step, size -= step) {
        step = piece_size(to, size);
        if (step == 8) store_piece<uint64_t>(to, from);
        else if (step == 4) store_piece<uint32_t>(to, from);
        else if (step == 2) store_piece<uint16_t>(to, from);
        else store_piece<uint8_t>(to, from);
    }
}

// Of a descriptor the upper half is read first: in a packed ring it has the flags that say whether the lower one counts.
inline void load_shared(uint8_t *to, const uint8_t *from, uint64_t size) {
    for (uint64_t step; size; to += step, from += step, size -= step) {
        step = piece_size(from, size);
        if (step == 8 && size >= 16 && reinterpret_cast<uintptr_t>(from) % 16 == 0) {
            load_piece<uint64_t>(to + 8, from + 8), load_piece<uint64_t>(to, from);
            step = 16;
        } else if (step == 8) load_piece<uint64_t>(to, from);
        else if (step == 4) load_piece<uint32_t>(to, from);
        else if (step == 2) load_piece<uint16_t>(to, from);
        else load_piece<uint8_t>(to, from);
    }
}

class Memory {
public:
    enum Flags : uint32_t { READ = 1, WRITE = 2 };

    bool map(uint64_t address, void *memory, uint64_t size, uint32_t flags) {
        if (!size || address + size - 1 < address) return false;
        auto next = regions_.lower_bound(address);
        if (next != regions_.end() && next->first - address < size) return false;
        if (next != regions_.begin()) {
            auto &[start, before] = *std::prev(next);
            if (address - start < before.size) return false;
        }
        regions_[address] = {static_cast<uint8_t *>(memory), size, flags};
        return true;
    }

    // Everything that starts inside goes.
    bool unmap(uint64_t address, uint64_t size) {
        auto first = regions_.lower_bound(address), last = first;
        while (last != regions_.end() && last->first - address < size) ++last;
        bool found = first != last;
        regions_.erase(first, last);
        return found;
    }

    // Whether the device may do so with all of these bytes, in one region or in several without a gap.
    bool covers(uint64_t address, uint64_t size, uint32_t flags) const {
        return walk(address, size, flags, [](uint8_t *, uint64_t) {});
    }

    // Nothing is copied unless all of it can be.
    bool read(uint64_t address, void *to, uint64_t size) const {
        auto *at = static_cast<uint8_t *>(to);
        return covers(address, size, READ) && walk(address, size, READ, [&](uint8_t *memory, uint64_t count) {
                   load_shared(at, memory, count), at += count;
               });
    }
    bool write(uint64_t address, const void *from, uint64_t size) const {
        auto *at = static_cast<const uint8_t *>(from);
        return covers(address, size, WRITE) && walk(address, size, WRITE, [&](uint8_t *memory, uint64_t count) {
                   store_shared(memory, at, count), at += count;
               });
    }

private:
    struct Region {
        uint8_t *memory;
        uint64_t size;
        uint32_t flags;
    };

    template <typename Visit> bool walk(uint64_t address, uint64_t size, uint32_t flags, Visit visit) const {
        while (size) {
            auto next = regions_.upper_bound(address);
            if (next == regions_.begin()) return false;
            auto &[start, region] = *std::prev(next);
            uint64_t offset = address - start;
            if (offset >= region.size || (region.flags & flags) != flags) return false;
            uint64_t count = std::min(size, region.size - offset);
            visit(region.memory + offset, count);
            address += count, size -= count;
        }
        return true;
    }

    std::map<uint64_t, Region> regions_;
};

}  // namespace harness
