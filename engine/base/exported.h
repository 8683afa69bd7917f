/*
 * exported.h: what of base a variant in a shared object may call (docs/add-a-component.md): memory,
 * assertions, the hash, statuses. All else that it includes from base is inline. Each function here is a
 * promise, so none is that a pure data structure does not need.
 */
#ifndef CASCADE_BASE_EXPORTED_H
#define CASCADE_BASE_EXPORTED_H

/*
 * Follows the declaration. For the linker the function has a name that no embedder's own function has;
 * everything else is hidden (-fvisibility=hidden).
 */
#define EXPORTED(name) __asm__("cascade_base_" #name) __attribute__((visibility("default")))

/* All of them. */
#define EXPORTED_FUNCTIONS(ROW)      \
	ROW(arena_allocate_slow)     \
	ROW(assert_failed)           \
	ROW(checksum64)              \
	ROW(hash_key)                \
	ROW(memory_allocate)         \
	ROW(memory_allocate_zeroed)  \
	ROW(memory_allocate_aligned) \
	ROW(memory_resize)           \
	ROW(memory_free)             \
	ROW(status_code_text)        \
	ROW(status_describe)         \
	ROW(status_error)

#endif
