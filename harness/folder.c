#include "harness/folder.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OPEN_FILES_MAX = 16 };

static int make_one(const char *path)
{
	struct stat about;
	if (mkdir(path, 0777) == 0)
		return 0;
	int error = errno;
	if (stat(path, &about) == 0)
		return S_ISDIR(about.st_mode) ? 0 : ENOTDIR;
	return error;
}

int folder_make(const char *path)
{
	char partial[PATH_MAX];
	size_t length = strlen(path);
	if (length == 0 || length >= sizeof(partial))
		return length == 0 ? ENOENT : ENAMETOOLONG;
	memcpy(partial, path, length + 1);
	for (char *slash = strchr(partial + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		int error = make_one(partial);
		if (error != 0)
			return error;
		*slash = '/';
	}
	return make_one(partial);
}

static int remove_one(const char *path, const struct stat *about, int type, struct FTW *walk)
{
	(void)about;
	(void)type;
	(void)walk;
	return remove(path) == 0 || errno == ENOENT ? 0 : errno;
}

int folder_remove(const char *path)
{
	int error = nftw(path, remove_one, OPEN_FILES_MAX, FTW_DEPTH | FTW_PHYS);
	if (error == -1)
		return errno == ENOENT ? 0 : errno;
	return error;
}

/* nftw hands its callback no context. One thread adds up at a time. */
static _Thread_local uint64_t bytes_so_far;

static int add_one(const char *path, const struct stat *about, int type, struct FTW *walk)
{
	(void)path;
	(void)walk;
	if (type == FTW_F)
		bytes_so_far += (uint64_t)about->st_blocks * 512;
	return 0;
}

uint64_t folder_bytes(const char *path)
{
	bytes_so_far = 0;
	return nftw(path, add_one, OPEN_FILES_MAX, FTW_PHYS) == 0 ? bytes_so_far : UINT64_MAX;
}

bool folder_is_empty(const char *path)
{
	DIR *folder = opendir(path);
	if (folder == NULL)
		return errno == ENOENT;
	bool empty = true;
	for (const struct dirent *entry = readdir(folder); entry != NULL && empty; entry = readdir(folder))
		empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
	(void)closedir(folder);
	return empty;
}
