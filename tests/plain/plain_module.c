/*
 * plain_module.c: what libplain.so has to offer.
 */
#include "plain/plain.h"

COMPONENT_MODULE({ COMPONENT_MEMTABLE, &plain_skiplist.component },
		 { COMPONENT_MEMTABLE, &plain_btree.component }, { COMPONENT_MEMTABLE, &plain_art.component },
		 { COMPONENT_MEMTABLE, &plain_sorted_hash.component });
