#include "harness/workload.h"

const char *const operation_names[OPERATION_KINDS] = {
	[OPERATION_READ] = "read", [OPERATION_UPDATE] = "update", [OPERATION_INSERT] = "insert",
	[OPERATION_SCAN] = "scan", [OPERATION_RMW] = "rmw",	  [OPERATION_DELETE] = "delete",
};
