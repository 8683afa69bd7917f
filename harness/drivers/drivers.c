#include <string.h>

#include "harness/drivers/driver.h"

/* The build defines CASCADE_HAVE_X for each peer whose library and header it has found. */
extern const struct driver_ops cascade_driver;
extern const struct driver_ops rocksdb_driver;
extern const struct driver_ops leveldb_driver;
extern const struct driver_ops lmdb_driver;
extern const struct driver_ops wiredtiger_driver;
extern const struct driver_ops null_driver;

const struct driver_ops *const drivers[] = {
	&cascade_driver,
#ifdef CASCADE_HAVE_ROCKSDB
	&rocksdb_driver,
#endif
#ifdef CASCADE_HAVE_LEVELDB
	&leveldb_driver,
#endif
#ifdef CASCADE_HAVE_LMDB
	&lmdb_driver,
#endif
#ifdef CASCADE_HAVE_WIREDTIGER
	&wiredtiger_driver,
#endif
	&null_driver,	    NULL,
};

const struct driver_ops *driver_find(const char *name)
{
	for (size_t i = 0; drivers[i] != NULL; i++) {
		if (strcmp(drivers[i]->name, name) == 0)
			return drivers[i];
	}
	return NULL;
}
