/* embed.c: the smallest program around Cascade: open, write, read, scan, close. */
#include <cascade.h>
#include <stdio.h>

static int fail(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, cascade_error_message());
	return 1;
}

int main(int argc, char **argv)
{
	cascade *db;
	if (cascade_open(argc > 1 ? argv[1] : "embed.data", NULL, &db) != CASCADE_OK)
		return fail("open");
	if (cascade_put(db, cascade_string("ada"), cascade_string("1815"), NULL) != CASCADE_OK ||
	    cascade_put(db, cascade_string("grace"), cascade_string("1906"), NULL) != CASCADE_OK)
		return fail("put");

	cascade_value born;
	if (cascade_get(db, cascade_string("grace"), NULL, &born) != CASCADE_OK)
		return fail("get");
	printf("grace: %.*s\n", (int)born.size, (const char *)born.data);
	cascade_value_release(&born);

	cascade_iterator *row;
	if (cascade_iterator_create(db, NULL, &row) != CASCADE_OK)
		return fail("scan");
	for (cascade_iterator_seek_first(row); cascade_iterator_valid(row); cascade_iterator_next(row))
		printf("%.*s = %.*s\n", (int)cascade_iterator_key(row).size,
		       (const char *)cascade_iterator_key(row).data, (int)cascade_iterator_value(row).size,
		       (const char *)cascade_iterator_value(row).data);
	if (cascade_iterator_status(row) != CASCADE_OK)
		return fail("scan");
	cascade_iterator_destroy(row);
	return cascade_close(db) == CASCADE_OK ? 0 : fail("close");
}
