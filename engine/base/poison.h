/*
 * poison.h: the last include of every engine and component file that is not itself a door. It makes the
 * raw identifiers uncompilable, so that memory, time, randomness and I/O pass only through the doors
 * that budgets count and simulated worlds hold: memory.h, arena.h, clock.h, random.h, io/io.h, runtime/.
 */
#ifndef CASCADE_BASE_POISON_H
#define CASCADE_BASE_POISON_H

#pragma GCC poison malloc calloc realloc free aligned_alloc posix_memalign strdup strndup
#pragma GCC poison time gettimeofday clock_gettime nanosleep usleep
#pragma GCC poison rand srand random_r srandom getrandom
#pragma GCC poison pread pwrite preadv pwritev fsync fdatasync fopen unlink rename ftruncate fallocate
#pragma GCC poison pthread_create pthread_mutex_lock pthread_cond_wait
#pragma GCC poison strcpy strcat sprintf atoi gets

#endif
