/*
 * commands.h: the sub-commands of `cascade`. argv[0] is the sub-command's name. All return the process's
 * exit code: 0 done, 1 a run or a check failed, 2 bad input.
 */
#ifndef CASCADE_HARNESS_COMMANDS_H
#define CASCADE_HARNESS_COMMANDS_H

enum exit_code { EXIT_DONE = 0, EXIT_RUN_FAILED = 1, EXIT_BAD_INPUT = 2 };

struct command {
	const char *name;
	const char *summary;
	int (*run)(int argc, char **argv);
};

/* All of them, ended by a name of NULL. */
extern const struct command commands[];

/* What main does, without the process: `cascade ARGUMENTS...`. */
int command_main(int argc, char **argv);

int run_command(int argc, char **argv);
int list_command(int argc, char **argv);

/* Flushes stdout. Returns exit_code, or 1 and a message if what was printed did not get through. */
int finish_output(int exit_code);

#endif
