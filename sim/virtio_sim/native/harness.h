// C ABI of the native harness: one verilated endpoint, and the host above it.
//
// A packet is an array of dwords: the header's as numbers whose bits 31:24 are byte 0 of the standard's
// figures, then the payload's with the first byte in bits 7:0; the same as on the design's raw streams.
// Nothing happens but inside vn_run, vn_access and vn_reset, and nothing is thread-safe.
#pragma once
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct vn vn;

// What vn_run tells, and may be asked to stop at.
enum {
    VN_STORED = 1,    // the device wrote into mapped memory
    VN_MESSAGE = 2,   // an interrupt message has arrived, MSI-X or INTx
    VN_ANSWER = 4,    // an injected request was answered
    VN_TAKEN = 8,     // the device has taken all packets that were to go to it
    VN_QUIET = 16,    // nothing has moved on any port for `quiet` cycles
    VN_SENT = 32,     // the device has sent a frame
};

// The link between host and device. All zero: packets arrive in the cycle in which they are complete.
typedef struct {
    uint32_t bytes_per_kilocycle;  // bandwidth of each direction; 0: unlimited
    uint32_t packet_bytes;         // framing, sequence number and LCRC of a packet
    uint32_t latency;              // cycles from one end to the other
    uint32_t memory_latency;       // cycles from a read request to its data
    uint32_t jitter;               // up to so many cycles more, at random, on the memory
    uint32_t boundary;             // read completion boundary in bytes: 64 or 128
    uint32_t completion;           // completions end at multiples of it; 0: of the boundary, at random
    uint32_t shuffle;              // completions of different reads change places
    uint32_t posted_credits;       // packets of the device that the host holds; 0: unlimited
    uint32_t stall;                // probability of a pause on the raw streams in a cycle, in 1/1000
    uint64_t seed;                 // of everything random
} vn_link;

// Serves a request of the storage port: 0 read, 1 write, 2 flush, 3 discard, 4 write zeroes, 5 the same and
// deallocate; what has to be durable is followed by a flush. Not 0 for an error.
typedef int (*vn_storage_fn)(void *user, int operation, uint64_t sector, uint32_t count, uint8_t *data);
// The next sample of the noise source.
typedef uint8_t (*vn_entropy_fn)(void *user);
// Sees a frame of the device.
typedef void (*vn_sent_fn)(void *user, const uint8_t *data, uint32_t size);
// There is time for a frame to the device: it goes there with vn_frame. Called again only after one was.
typedef void (*vn_arrive_fn)(void *user);
// Flags of a frame to the device: it came damaged; the checksum of the segment inside was found right.
enum { VN_DAMAGED = 1, VN_CHECKED = 2 };
// Sees a completion of the host on its way to the device; what goes there instead it sends with vn_inject.
typedef void (*vn_tamper_fn)(void *user, const uint32_t *dwords, uint32_t count);

vn *vn_create(const vn_link *link);
void vn_destroy(vn *);
void vn_reset(vn *);  // of the clock domain; the link is empty afterwards
void vn_set_link(vn *, const vn_link *link);
int vn_waves(vn *, const char *path);  // 0 if this library can

uint64_t vn_cycles(const vn *);
uint32_t vn_run(vn *, uint64_t cycles, uint32_t stop_at, uint32_t quiet);

// Host memory. Flags: 1 the device may read, 2 it may write. 0 unless it overlaps what is mapped.
int vn_map(vn *, uint64_t address, void *memory, uint64_t size, uint32_t flags);
int vn_unmap(vn *, uint64_t address, uint64_t size);

// One access of the host; runs until it is answered, a memory write only until the link has taken it.
// The completion status, or -1 after `timeout` cycles. `type` is the header's Fmt and Type.
int vn_access(vn *, uint32_t type, uint64_t address, uint32_t size, uint64_t *data, uint64_t timeout);

// Packets past the link, malformed or not. `cut`: without its last beat.
void vn_inject(vn *, const uint32_t *dwords, uint32_t count, int cut);
uint32_t vn_answer(vn *, uint32_t *dwords, uint32_t room);  // dwords of the next answer, 0: none
void vn_set_tamper(vn *, vn_tamper_fn, void *user);

// Memory writes of one dword outside mapped memory, in their order. 0: none.
int vn_message(vn *, uint64_t *address, uint32_t *data);
int vn_intx(const vn *);              // level
uint64_t vn_intx_asserted(const vn *);
uint64_t vn_lost_writes(const vn *);  // to addresses without memory, and no message

// All packets in both directions, while switched on: {dwords | from_device << 31, cycle, cycle >> 32, ...}.
void vn_set_log(vn *, int on);
size_t vn_log(vn *, uint32_t *words, size_t room);
// What broke the rules of a stream, as text; "" if nothing did.
const char *vn_findings(vn *);

// Behind the device.
void vn_set_storage(vn *, vn_storage_fn, void *user, uint64_t sectors);
void vn_set_storage_memory(vn *, uint8_t *memory, uint64_t sectors, uint32_t latency);
uint64_t vn_flushes(const vn *);
void vn_set_entropy(vn *, vn_entropy_fn, void *user);  // without it: from the link's seed
void vn_set_clock(vn *, uint64_t seconds, uint32_t microseconds);
int vn_command(vn *, uint32_t command, uint64_t timeout);   // vmmci: the answer's kind, or -1
int vn_event(vn *, uint32_t *kind, uint32_t *command);      // 0: none
void vn_set_network(vn *, vn_sent_fn, vn_arrive_fn, void *user);
void vn_set_cable(vn *, int link_up, uint32_t speed);  // and ask for frames; in Mbit/s, a cycle being 4 ns
void vn_frame(vn *, const uint8_t *data, uint32_t size, uint32_t flags);  // of 1 octet or more
// Frames like this one to the device, their number in the last 4 octets, the next one begins after `period`
// cycles at the earliest.
void vn_set_traffic(vn *, const uint8_t *data, uint32_t size, uint64_t count, uint32_t period);
// Frames and octets that the device sent; returns the CRC-32 of all of them, one after the other.
uint32_t vn_sent(const vn *, uint64_t *frames, uint64_t *octets);

#ifdef __cplusplus
}
#endif
