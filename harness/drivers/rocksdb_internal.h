/*
 * rocksdb_internal.h: what the files of the RocksDB driver share. rocksdb_options.c reads the options and
 * says what they amount to, rocksdb.c drives the library, rocksdb_crc32c.c gives it a checksum.
 */
#ifndef CASCADE_HARNESS_ROCKSDB_INTERNAL_H
#define CASCADE_HARNESS_ROCKSDB_INTERNAL_H

#include <rocksdb/c.h>

#include "harness/drivers/driver.h"

enum rocksdb_option {
	ROCKSDB_PROFILE,
	ROCKSDB_DURABILITY,
	ROCKSDB_MEMTABLE_SIZE,
	ROCKSDB_MEMTABLE_COUNT,
	ROCKSDB_FILTER_BITS,
	ROCKSDB_CACHE_SIZE,
	ROCKSDB_CACHE_INDEX,
	ROCKSDB_CODEC,
	ROCKSDB_DYNAMIC_LEVELS,
	ROCKSDB_BACKGROUND_JOBS,
	ROCKSDB_IO_DIRECT,
	ROCKSDB_STATISTICS,
	ROCKSDB_OPTIONS
};

enum rocksdb_profile { ROCKSDB_DEFAULTS, ROCKSDB_TUNED };
enum rocksdb_durability { ROCKSDB_MEMORY, ROCKSDB_PROCESS, ROCKSDB_POWER };

/* The value of each option in effect: bytes, a number, 0 or 1, or the index of a choice. */
struct rocksdb_settings {
	double values[ROCKSDB_OPTIONS];
};

/* The profile's values with those of the configuration over them; *bad as in driver_ops.check. */
MUST_CHECK struct status rocksdb_settings_read(const struct driver_config *config,
					       struct rocksdb_settings *settings, size_t *bad);

/* A fresh options object that holds them; the caller destroys it. Without statistics, without a path. */
rocksdb_options_t *rocksdb_settings_apply(const struct rocksdb_settings *settings);

/* The functions of driver_ops. */
MUST_CHECK struct status rocksdb_options_check(const struct driver_config *config, size_t *bad);
void rocksdb_options_describe(const struct driver_config *config,
			      void (*each)(void *context, const char *name, const char *value),
			      void *context);
uint64_t rocksdb_options_budget(const struct driver_config *config);
void rocksdb_options_parity(const struct driver_config *config,
			    void (*each)(void *context, const char *name, const char *text), void *context);

/*
 * rocksdb::crc32c::Extend(), which the library finds here instead of its own: the CRC-32C of some bytes and
 * those that follow, unmasked. Thread-safe.
 */
uint32_t rocksdb_crc32c_extend(uint32_t crc, const char *data,
			       size_t size) __asm__("_ZN7rocksdb6crc32c6ExtendEjPKcm")
	__attribute__((visibility("default")));

/* How often it was called in this process. */
uint64_t rocksdb_crc32c_calls(void);

/* The same function without instructions that a processor may lack. */
uint32_t rocksdb_crc32c_portable(uint32_t crc, const char *data, size_t size);

#endif
