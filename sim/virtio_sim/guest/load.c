/* Reads from a block device with O_DIRECT and a number of requests in flight, and says how many it did.
 *
 * load DEVICE BLOCK DEPTH REQUESTS SEED: blocks of BLOCK bytes, at random if SEED is not 0, else in order.
 * Prints "requests N bytes N ns N"; ends at the first error, with status 1.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { MAX_DEPTH = 64 };

static uint64_t state;

static uint64_t next(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static uint64_t now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static int failed(const char *what)
{
	printf("%s: %s\n", what, strerror(errno));
	return 1;
}

int main(int argc, char **argv)
{
	if (argc != 6)
		return 2;
	size_t block = strtoul(argv[2], NULL, 10);
	uint64_t depth = strtoul(argv[3], NULL, 10), requests = strtoul(argv[4], NULL, 10);
	state = strtoul(argv[5], NULL, 10);
	int file = open(argv[1], O_RDONLY | O_DIRECT);
	if (file < 0)
		return failed("open");
	off_t size = lseek(file, 0, SEEK_END);
	uint64_t blocks = (uint64_t)size / block;
	if (depth < 1 || depth > MAX_DEPTH || blocks == 0)
		return 2;
	aio_context_t context = 0;
	if (syscall(SYS_io_setup, MAX_DEPTH, &context))
		return failed("io_setup");
	struct iocb controls[MAX_DEPTH];
	uint64_t sent = 0, done = 0, start = now();
	uint64_t idle[MAX_DEPTH], idles = 0;
	for (; idles < depth; idles++) {
		void *memory;
		if (posix_memalign(&memory, 4096, block))
			return failed("memory");
		memset(&controls[idles], 0, sizeof controls[0]);
		controls[idles].aio_buf = (uint64_t)memory;
		controls[idles].aio_nbytes = block;
		controls[idles].aio_fildes = (uint32_t)file;
		controls[idles].aio_lio_opcode = IOCB_CMD_PREAD;
		controls[idles].aio_data = idles;
		idle[idles] = idles;
	}
	while (done < requests) {
		while (idles && sent < requests) {
			struct iocb *control = &controls[idle[--idles]];
			control->aio_offset = (int64_t)((state ? next() : sent) % blocks * block);
			if (syscall(SYS_io_submit, context, 1, &control) != 1)
				return failed("io_submit");
			sent++;
		}
		struct io_event events[MAX_DEPTH];
		long count = syscall(SYS_io_getevents, context, 1, MAX_DEPTH, events, NULL);
		if (count < 1)
			return failed("io_getevents");
		for (long n = 0; n < count; n++) {
			if (events[n].res != (int64_t)block) {
				errno = events[n].res < 0 ? (int)-events[n].res : EIO;
				return failed("read");
			}
			idle[idles++] = events[n].data;
		}
		done += (uint64_t)count;
	}
	printf("requests %llu bytes %llu ns %llu\n", (unsigned long long)done,
	       (unsigned long long)(done * block), (unsigned long long)(now() - start));
	return 0;
}
