// How host memory is touched: one line for each load or store of an instruction, as `address`, relative to the memory.
// accesses read|write ADDRESS SIZE
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "memory.h"

namespace {

constexpr uint64_t PAGE = 4096;
constexpr greg_t TRAP_FLAG = 0x100;
uint8_t *memory;
long touched[PAGE];
int count = 0;

// Somebody touches the page: let one instruction do so.
void touch(int, siginfo_t *info, void *context) {
    touched[count++] = static_cast<uint8_t *>(info->si_addr) - memory;
    mprotect(memory, PAGE, PROT_READ | PROT_WRITE);
    static_cast<ucontext_t *>(context)->uc_mcontext.gregs[REG_EFL] |= TRAP_FLAG;
}

void touched_once(int, siginfo_t *, void *context) {
    mprotect(memory, PAGE, PROT_NONE);
    static_cast<ucontext_t *>(context)->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG;
}

void handle(int number, void (*handler)(int, siginfo_t *, void *)) {
    struct sigaction action = {};
    action.sa_flags = SA_SIGINFO;
    action.sa_sigaction = handler;
    sigaction(number, &action, nullptr);
}

}  // namespace

int main(int, char **arguments) {
    uint64_t address = strtoull(arguments[2], nullptr, 0), size = strtoull(arguments[3], nullptr, 0);
    memory = static_cast<uint8_t *>(mmap(nullptr, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    for (uint64_t n = 0; n < PAGE; n++) memory[n] = uint8_t(n * 7 + 1);
    harness::Memory host;
    host.map(0, memory, PAGE, harness::Memory::READ | harness::Memory::WRITE);
    uint8_t data[PAGE];
    memset(data, 0xa5, sizeof data);
    handle(SIGSEGV, touch);
    handle(SIGTRAP, touched_once);
    bool writes = !strcmp(arguments[1], "write");
    mprotect(memory, PAGE, PROT_NONE);
    bool done = writes ? host.write(address, data, size) : host.read(address, data, size);
    mprotect(memory, PAGE, PROT_READ | PROT_WRITE);
    for (uint64_t n = 0; n < PAGE; n++) {
        bool inside = n >= address && n - address < size;
        uint8_t was = uint8_t(n * 7 + 1);
        if (memory[n] != (writes && inside ? 0xa5 : was)) done = false;
        if (!writes && inside && data[n - address] != was) done = false;
    }
    for (int n = 0; n < count; n++) printf("%ld\n", touched[n]);
    return !done;
}
