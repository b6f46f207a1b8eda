// The native harness above a design with mutants in it: which one is in force, and which would have mattered.
#include "harness.cpp"

extern "C" {

// From here on this mutant is in force; 0: none.
void vn_mutate(vn *v, uint32_t mutant) { v->top->mutant = mutant; }

// The sticky bits of all mutants whose net would have had another value than it had.
void vn_reached(const vn *v, uint32_t *words, uint32_t count) {
    for (uint32_t n = 0; n < count; n++) words[n] = v->top->reached[n];
}

}  // extern "C"
