// Host memory: what was mapped, by address.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <map>

namespace harness {

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
                   memcpy(at, memory, count), at += count;
               });
    }
    bool write(uint64_t address, const void *from, uint64_t size) const {
        auto *at = static_cast<const uint8_t *>(from);
        return covers(address, size, WRITE) && walk(address, size, WRITE, [&](uint8_t *memory, uint64_t count) {
                   memcpy(memory, at, count), at += count;
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
