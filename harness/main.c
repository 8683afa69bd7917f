/*
 * main.c: the command `cascade`.
 */
#include "harness/commands.h"

int main(int argc, char **argv)
{
	return command_main(argc, argv);
}
