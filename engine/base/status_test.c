/*
 * status_test.c: messages travel with their status, degrade to the code's text when the ring has moved
 * on, and never mix between threads. (Milliseconds.)
 */
#include "test.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

enum { RING = 1024 }; /* messages that are kept: the contract in status.h */

static const char *text_of(struct status status)
{
	static char text[300];
	status_describe(status, text, sizeof(text));
	return text;
}

static void codes_have_texts(void **state)
{
	(void)state;
	for (int32_t code = 0; code < STATUS_CODE_COUNT; code++) {
		assert_true(strlen(status_code_text(code)) > 0);
		assert_string_equal(text_of(status_make((enum status_code)code)), status_code_text(code));
		for (int32_t other = 0; other < code; other++)
			assert_string_not_equal(status_code_text(code), status_code_text(other));
	}
	assert_string_equal(status_code_text(-1), "unknown status");
	assert_string_equal(status_code_text(STATUS_CODE_COUNT), "unknown status");
	assert_true(status_is_ok(status_ok()));
	assert_false(status_is_ok(status_make(STATUS_IO)));
	assert_int_equal(sizeof(struct status), 8);
}

static void messages_are_kept_and_cut(void **state)
{
	(void)state;
	struct status status = status_error(STATUS_CORRUPT, "%s: block %d", "000012.sst", 7);
	assert_true(status_is(status, STATUS_CORRUPT));
	assert_string_equal(text_of(status), "000012.sst: block 7");

	char small[6] = "xxxxx";
	status_describe(status, small, sizeof(small));
	assert_string_equal(small, "00001");
	status_describe(status, small, 1);
	assert_string_equal(small, "");
	status_describe(status, NULL, 0);

	char longest[400];
	memset(longest, 'a', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	assert_int_equal(strlen(text_of(status_error(STATUS_IO, "%s", longest))), 255);
}

static void an_old_message_degrades_to_its_code(void **state)
{
	(void)state;
	struct status old = status_error(STATUS_NO_SPACE, "first");
	for (int i = 0; i < RING - 1; i++)
		(void)status_error(STATUS_IO, "later %d", i);
	assert_string_equal(text_of(old), "first");
	struct status newest = status_error(STATUS_IO, "one too many");
	assert_string_equal(text_of(old), status_code_text(STATUS_NO_SPACE));
	assert_true(status_is(old, STATUS_NO_SPACE));
	assert_string_equal(text_of(newest), "one too many");
}

static void errno_becomes_a_code(void **state)
{
	(void)state;
	static const struct {
		int error;
		enum status_code code;
	} cases[] = {
		{ ENOENT, STATUS_NOT_FOUND }, { ENOSPC, STATUS_NO_SPACE },
		{ EDQUOT, STATUS_NO_SPACE },  { EFBIG, STATUS_NO_SPACE },
		{ ENOMEM, STATUS_NO_MEMORY }, { EAGAIN, STATUS_BUSY },
		{ EINVAL, STATUS_INVALID },   { EOPNOTSUPP, STATUS_UNSUPPORTED },
		{ EROFS, STATUS_READ_ONLY },  { EIO, STATUS_IO },
		{ EACCES, STATUS_IO },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_status(status_from_errno(cases[i].error, "x", NULL), cases[i].code);
	assert_string_equal(text_of(status_from_errno(ENOENT, "open", "a/b")),
			    "a/b: open: No such file or directory");
	assert_string_equal(text_of(status_from_errno(EIO, "eventfd", NULL)), "eventfd: Input/output error");
}

static struct status try_once(struct status given)
{
	TRY(given);
	return status_make(STATUS_CLOSED);
}

static struct status try_goto(struct status given, bool *cleaned)
{
	struct status status;
	TRY_GOTO(given, out);
	status = status_make(STATUS_CLOSED);
out:
	*cleaned = true;
	return status;
}

static void macros_pass_errors_on(void **state)
{
	(void)state;
	bool cleaned = false;
	assert_status(try_once(status_ok()), STATUS_CLOSED);
	assert_status(try_once(status_make(STATUS_IO)), STATUS_IO);
	assert_status(try_goto(status_make(STATUS_BUSY), &cleaned), STATUS_BUSY);
	assert_true(cleaned);
	assert_status(try_goto(status_ok(), &cleaned), STATUS_CLOSED);
	struct status kept = status_ok();
	status_keep_first(&kept, status_ok());
	assert_ok(kept);
	status_keep_first(&kept, status_make(STATUS_IO));
	status_keep_first(&kept, status_make(STATUS_BUSY));
	assert_status(kept, STATUS_IO);
}

static void *make_messages(void *argument)
{
	unsigned number = *(unsigned *)argument;
	for (unsigned i = 0; i < 20000; i++) {
		char text[64];
		char expected[64];
		(void)snprintf(expected, sizeof(expected), "thread %u message %u", number, i);
		struct status status = status_error(STATUS_IO, "thread %u message %u", number, i);
		status_describe(status, text, sizeof(text));
		/* Its own message, or none if the other thread was very quick: never somebody else's. */
		if (strcmp(text, expected) != 0 && strcmp(text, status_code_text(STATUS_IO)) != 0)
			return "mixed";
	}
	return NULL;
}

static void threads_do_not_mix(void **state)
{
	(void)state;
	pthread_t threads[2];
	unsigned numbers[2] = { 1, 2 };
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, make_messages, &numbers[i]), 0);
	for (int i = 0; i < 2; i++) {
		void *result;
		pthread_join(threads[i], &result);
		assert_null(result);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(codes_have_texts),
		cmocka_unit_test(messages_are_kept_and_cut),
		cmocka_unit_test(an_old_message_degrades_to_its_code),
		cmocka_unit_test(errno_becomes_a_code),
		cmocka_unit_test(macros_pass_errors_on),
		cmocka_unit_test(threads_do_not_mix),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
