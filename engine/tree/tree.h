/*
 * tree.h: the log-structured merge tree as a store: log -> memtables -> tables in levels.
 */
#ifndef CASCADE_TREE_TREE_H
#define CASCADE_TREE_TREE_H

#include "tree/store.h"

extern const struct store_ops tree_store;

#endif
