/*
 * refused_empty.c: a shared object without variants.
 */
int cascade_nothing(void);

int cascade_nothing(void)
{
	return 0;
}
