// Transaction layer packets as dwords.  [PCIe base 5.0 §2.2]
#pragma once
#include <cstdint>
#include <vector>

namespace harness {

using Packet = std::vector<uint32_t>;

enum Type : uint32_t { MEMORY = 0x00, IO = 0x02, CONFIG_0 = 0x04, COMPLETION = 0x0a, COMPLETION_LOCKED = 0x0b };

inline bool four(const Packet &p) { return p[0] >> 29 & 1; }
inline bool has_data(const Packet &p) { return p[0] >> 30 & 1; }
inline uint32_t type(const Packet &p) { return p[0] >> 24 & 0x1f; }
inline uint32_t header_dwords(const Packet &p) { return four(p) ? 4 : 3; }
inline uint32_t length(const Packet &p) { return (p[0] & 0x3ff) ? p[0] & 0x3ff : 1024; }
inline bool is_completion(const Packet &p) { return (type(p) & 0x1e) == COMPLETION; }
inline bool is_message(const Packet &p) { return (type(p) & 0x18) == 0x10; }
inline bool is_posted(const Packet &p) { return is_message(p) || (type(p) == MEMORY && has_data(p)); }
inline bool is_non_posted(const Packet &p) { return !is_posted(p) && !is_completion(p); }
inline uint32_t requester_of_completion(const Packet &p) { return p[2] >> 16; }
inline uint32_t tag_of_completion(const Packet &p) { return p[2] >> 8 & 0xff; }
inline uint32_t first_be(const Packet &p) { return p[1] & 15; }
inline uint32_t last_be(const Packet &p) { return p[1] >> 4 & 15; }
inline uint64_t address(const Packet &p) {
    return four(p) ? uint64_t(p[2]) << 32 | (p[3] & ~3u) : p[2] & ~3u;
}

// Whether a packet is as long as its header says.
inline bool is_whole(const Packet &p) {
    return p.size() >= 3 && p.size() == header_dwords(p) + (has_data(p) ? length(p) : 0);
}

// Bytes in front of the first enabled one, and behind the last enabled one.
inline uint32_t bytes_before(uint32_t enable) { return enable ? __builtin_ctz(enable) : 0; }
inline uint32_t bytes_behind(uint32_t enable) { return enable ? __builtin_clz(enable) - 28 : 0; }

// Bytes that a memory read asks for; a read without any is answered as if it were for one.  [§2.3.1.1]
inline uint32_t bytes_asked(const Packet &p) {
    uint32_t first = first_be(p), last = length(p) > 1 ? last_be(p) : first;
    return first ? 4 * length(p) - bytes_before(first) - bytes_behind(last) : 1;
}

}  // namespace harness
