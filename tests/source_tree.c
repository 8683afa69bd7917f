#include "source_tree.h"

#include <ftw.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char *const skipped_folders[] = { ".git", "build", "results" };
static const char *const text_endings[] = { ".c",   ".h",  ".S",    ".md",	".txt",	   ".cmake", ".in",
					    ".map", ".sh", ".yaml", "Makefile", ".ci/run", ".gp" };

/* nftw hands its callback no context. */
static struct source_tree *reading;
static size_t root_size;

static bool take_text(const char *path, const char *below_root, size_t size)
{
	struct source_tree *tree = reading;
	struct source_file *files = realloc(tree->files, (tree->count + 1) * sizeof(*files));
	if (files == NULL)
		return false;
	tree->files = files;
	struct source_file *file = &files[tree->count];
	file->path = strdup(below_root);
	file->text = malloc(size + 1);
	FILE *stream = fopen(path, "rb");
	if (file->path == NULL || file->text == NULL || stream == NULL) {
		free(file->path);
		free(file->text);
		if (stream != NULL)
			fclose(stream);
		return false;
	}
	file->size = fread(file->text, 1, size, stream);
	file->text[file->size] = '\0';
	fclose(stream);
	tree->count++;
	return true;
}

static int visit(const char *path, const struct stat *status, int type, struct FTW *where)
{
	const char *below_root = path + root_size;
	while (*below_root == '/')
		below_root++;
	if (type == FTW_D && where->level == 1) {
		for (size_t i = 0; i < sizeof(skipped_folders) / sizeof(*skipped_folders); i++) {
			if (strcmp(below_root, skipped_folders[i]) == 0)
				return FTW_SKIP_SUBTREE;
		}
	}
	if (type != FTW_F)
		return FTW_CONTINUE;
	for (size_t i = 0; i < sizeof(text_endings) / sizeof(*text_endings); i++) {
		if (!source_path_ends(path, text_endings[i]))
			continue;
		if (take_text(path, below_root, (size_t)status->st_size))
			return FTW_CONTINUE;
		fprintf(stderr, "%s: cannot be read\n", path);
		return FTW_STOP;
	}
	return FTW_CONTINUE;
}

static int compare_paths(const void *a, const void *b)
{
	return strcmp(((const struct source_file *)a)->path, ((const struct source_file *)b)->path);
}

bool source_tree_read(const char *root, struct source_tree *tree)
{
	*tree = (struct source_tree) { 0 };
	reading = tree;
	root_size = strlen(root);
	if (nftw(root, visit, 16, FTW_PHYS | FTW_ACTIONRETVAL) != 0) {
		fprintf(stderr, "%s: the tree cannot be read\n", root);
		source_tree_free(tree);
		return false;
	}
	if (tree->count > 0)
		qsort(tree->files, tree->count, sizeof(*tree->files), compare_paths);
	return true;
}

void source_tree_free(struct source_tree *tree)
{
	for (size_t i = 0; i < tree->count; i++) {
		free(tree->files[i].path);
		free(tree->files[i].text);
	}
	free(tree->files);
	*tree = (struct source_tree) { 0 };
}

const struct source_file *source_tree_find(const struct source_tree *tree, const char *path)
{
	struct source_file key = { .path = (char *)(uintptr_t)path };
	if (tree->count == 0)
		return NULL;
	return bsearch(&key, tree->files, tree->count, sizeof(*tree->files), compare_paths);
}

bool source_line_next(const struct source_file *file, struct source_line *line)
{
	const char *end = file->text + file->size;
	if (line->number == 0)
		line->rest = file->text;
	if (line->rest >= end)
		return false;
	line->text = line->rest;
	const char *newline = memchr(line->text, '\n', (size_t)(end - line->text));
	line->size = (size_t)((newline != NULL ? newline : end) - line->text);
	line->rest = line->text + line->size + 1;
	line->number++;
	return true;
}

bool source_path_ends(const char *path, const char *end)
{
	size_t path_size = strlen(path);
	size_t end_size = strlen(end);
	return path_size >= end_size && strcmp(path + path_size - end_size, end) == 0;
}

bool source_is_c(const char *path)
{
	return source_path_ends(path, ".c") || source_path_ends(path, ".h");
}

bool source_line_include(const struct source_line *line, char *name, size_t size, bool *quoted)
{
	const char *at = line->text;
	const char *end = line->text + line->size;
	while (at < end && (*at == ' ' || *at == '\t'))
		at++;
	if (at == end || *at++ != '#')
		return false;
	while (at < end && (*at == ' ' || *at == '\t'))
		at++;
	if (end - at < 9 || memcmp(at, "include", 7) != 0)
		return false;
	at += 7;
	while (at < end && (*at == ' ' || *at == '\t'))
		at++;
	if (at == end || (*at != '"' && *at != '<'))
		return false;
	*quoted = *at == '"';
	const char *close = memchr(at + 1, *quoted ? '"' : '>', (size_t)(end - at - 1));
	if (close == NULL || (size_t)(close - at) > size)
		return false;
	memcpy(name, at + 1, (size_t)(close - at - 1));
	name[close - at - 1] = '\0';
	return true;
}

const struct source_file *source_tree_resolve(const struct source_tree *tree, const struct source_file *from,
					      const char *name, bool quoted)
{
	char path[1024];
	if (quoted) {
		const char *slash = strrchr(from->path, '/');
		int folder = slash == NULL ? 0 : (int)(slash - from->path) + 1;
		snprintf(path, sizeof(path), "%.*s%s", folder, from->path, name);
		const struct source_file *beside = source_tree_find(tree, path);
		if (beside != NULL)
			return beside;
	}
	static const char *const folders[] = { "engine/", "", "tests/" };
	for (size_t i = 0; i < sizeof(folders) / sizeof(*folders); i++) {
		snprintf(path, sizeof(path), "%s%s", folders[i], name);
		const struct source_file *found = source_tree_find(tree, path);
		if (found != NULL)
			return found;
	}
	return NULL;
}

void findings_add(struct findings *findings, const char *path, unsigned line, const char *format, ...)
{
	char message[512];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(message, sizeof(message), format, arguments);
	va_end(arguments);
	size_t room = strlen(path) + strlen(message) + 32;
	char *text = realloc(findings->text, findings->size + room);
	if (text == NULL)
		abort();
	findings->text = text;
	findings->size += (size_t)snprintf(text + findings->size, room, "%s:%u: %s\n", path, line, message);
	findings->count++;
}

void findings_free(struct findings *findings)
{
	free(findings->text);
	*findings = (struct findings) { 0 };
}
