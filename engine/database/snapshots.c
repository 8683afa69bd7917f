/*
 * INV-SNAP-1  Whoever drops a version because of a newer one with sequence X sees every snapshot with a
 *             sequence below X. A snapshot enters (live, slot) before it reads the counter; a dropper reads
 * the table after X was drawn from the counter. In the one order of these sequentially consistent accesses, a
 * snapshot that read less than X entered before X was drawn.
 */
#include "base/assert.h"
#include "base/memory.h"
#include "database/database_internal.h"

#include "base/poison.h"

void snapshots_init(struct snapshot_table *table, uint64_t last_sequence)
{
	atomic_init(&table->sequence, last_sequence);
	atomic_init(&table->live, 0);
	atomic_init(&table->high, 0);
	for (unsigned i = 0; i < SNAPSHOTS_MAX; i++)
		atomic_init(&table->slots[i], 0);
}

uint64_t snapshots_next_sequence(struct snapshot_table *table)
{
	uint64_t sequence = atomic_fetch_add(&table->sequence, 1) + 1;
	ASSERT(sequence < SEQUENCE_MAX);
	return sequence;
}

static void raise_high(struct snapshot_table *table, uint32_t count)
{
	uint32_t high = atomic_load(&table->high);
	while (high < count && !atomic_compare_exchange_weak(&table->high, &high, count))
		;
}

uint32_t snapshots_enter(struct snapshot_table *table, uint64_t *sequence)
{
	atomic_fetch_add(&table->live, 1);
	uint64_t pending = 2 * atomic_load(&table->sequence) + 1;
	for (uint32_t slot = 0; slot < SNAPSHOTS_MAX; slot++) {
		uint64_t free_slot = 0;
		if (atomic_load_explicit(&table->slots[slot], memory_order_relaxed) != 0)
			continue;
		raise_high(table, slot + 1);
		if (!atomic_compare_exchange_strong(&table->slots[slot], &free_slot, pending))
			continue;
		*sequence = atomic_load(&table->sequence);
		/* Sequence 0 (nothing was ever written) must not look like a free slot. */
		atomic_store(&table->slots[slot], *sequence == 0 ? 2 : 2 * *sequence);
		return slot;
	}
	atomic_fetch_sub(&table->live, 1);
	return SNAPSHOTS_MAX;
}

void snapshots_leave(struct snapshot_table *table, uint32_t slot)
{
	ASSERT(slot < SNAPSHOTS_MAX);
	atomic_store(&table->slots[slot], 0);
	atomic_fetch_sub(&table->live, 1);
}

uint64_t snapshots_oldest(struct snapshot_table *table)
{
	uint64_t oldest = UINT64_MAX;
	if (atomic_load(&table->live) == 0)
		return oldest;
	uint32_t high = atomic_load(&table->high);
	for (uint32_t slot = 0; slot < high; slot++) {
		uint64_t word = atomic_load(&table->slots[slot]);
		if (word != 0 && word / 2 < oldest)
			oldest = word / 2;
	}
	return oldest;
}

size_t snapshots_list(struct snapshot_table *table, uint64_t *sequences, size_t capacity)
{
	size_t count = 0;
	if (atomic_load(&table->live) == 0)
		return 0;
	uint32_t high = atomic_load(&table->high);
	for (uint32_t slot = 0; slot < high; slot++) {
		uint64_t word = atomic_load(&table->slots[slot]);
		if (word == 0)
			continue;
		if ((word & 1) != 0)
			return SIZE_MAX;
		if (count < capacity) {
			size_t at = count;
			for (; at > 0 && sequences[at - 1] > word / 2; at--)
				sequences[at] = sequences[at - 1];
			sequences[at] = word / 2;
		}
		count++;
	}
	return count;
}

cascade_status cascade_snapshot_create(cascade *db, cascade_snapshot **snapshot)
{
	if (db == NULL || snapshot == NULL)
		return database_report(status_error(STATUS_INVALID, "db and snapshot must be given"));
	cascade_snapshot *made = memory_allocate(sizeof(*made));
	if (made == NULL)
		return database_report(status_make(STATUS_NO_MEMORY));
	made->db = db;
	made->slot = snapshots_enter(&db->snapshots, &made->sequence);
	if (made->slot == SNAPSHOTS_MAX) {
		memory_free(made);
		return database_report(
			status_error(STATUS_BUSY, "%d snapshots are live already", (int)SNAPSHOTS_MAX));
	}
	atomic_fetch_add(&db->handles, 1);
	*snapshot = made;
	return CASCADE_OK;
}

void cascade_snapshot_release(cascade_snapshot *snapshot)
{
	if (snapshot == NULL)
		return;
	snapshots_leave(&snapshot->db->snapshots, snapshot->slot);
	atomic_fetch_sub(&snapshot->db->handles, 1);
	memory_free(snapshot);
}
