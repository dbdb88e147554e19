/* One load of the lab: threads or processes that work and sleep in turn, for ever.
 *
 * load JOIN KIND COUNT ON_US OFF_US JITTER SEED
 *
 * JOIN: files named cgroup.procs to write "0" to before anything else, with commas between them; "-" for none. KIND: what the work is.
 * COUNT: threads, or processes where KIND is "sleep" or "fork". Each works for ON_US of its CPU time and sleeps for OFF_US; both are drawn
 * anew each time, JITTER thousandths up or down. OFF_US 0: it never sleeps. It ends with its parent.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MEMORY_BYTES = 32 << 20, LINE_BYTES = 64, LINES = MEMORY_BYTES / LINE_BYTES };

static long count, on_us, off_us, jitter;
static const char *kind;
static volatile uint64_t sink;

typedef struct {
	uint64_t random;
	uint64_t *memory;
	uint64_t place;
} Worker;

static uint64_t next(Worker *worker)
{
	worker->random ^= worker->random << 13;
	worker->random ^= worker->random >> 7;
	worker->random ^= worker->random << 17;
	return worker->random;
}

static double drawn(Worker *worker, long microseconds)
{
	double part = (double)(next(worker) % 2001) / 1000 - 1;
	return microseconds * (1 + part * jitter / 1000);
}

static double spent_us(void)
{
	struct timespec now;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return now.tv_sec * 1e6 + now.tv_nsec * 1e-3;
}

/* Some ten microseconds of each kind. */
static void piece(Worker *worker)
{
	if (!strcmp(kind, "stream")) {
		size_t words = 4096 / sizeof(uint64_t) * 8;
		uint64_t *from = worker->memory + worker->place, sum = 0;
		for (size_t word = 0; word < words; word++)
			sum += from[word]++;
		sink = sum;
		worker->place = (worker->place + words) % (MEMORY_BYTES / sizeof(uint64_t));
	} else if (!strcmp(kind, "chase")) {
		uint64_t place = worker->place;
		for (int step = 0; step < 100; step++)
			place = worker->memory[place * (LINE_BYTES / sizeof(uint64_t))];
		worker->place = place;
	} else if (!strcmp(kind, "syscall")) {
		for (int call = 0; call < 50; call++)
			syscall(SYS_getppid);
	} else {
		for (int step = 0; step < 5000; step++)
			next(worker);
		sink = worker->random;
	}
}

static void work(Worker *worker, double microseconds)
{
	for (double end = spent_us() + microseconds; spent_us() < end;)
		piece(worker);
}

static void rest(double microseconds)
{
	struct timespec span = {(time_t)(microseconds / 1e6), (long)(microseconds * 1e3) % 1000000000};
	nanosleep(&span, NULL);
}

static void prepare(Worker *worker)
{
	if (strcmp(kind, "stream") && strcmp(kind, "chase"))
		return;
	worker->memory = malloc(MEMORY_BYTES);
	memset(worker->memory, 1, MEMORY_BYTES);
	/* One circle through all lines, in an order that no prefetcher knows. Source: Sattolo, "An algorithm to generate a random cyclic
	 * permutation" (1986). */
	if (!strcmp(kind, "chase")) {
		size_t step = LINE_BYTES / sizeof(uint64_t);
		for (uint64_t line = 0; line < LINES; line++)
			worker->memory[line * step] = line;
		for (uint64_t line = LINES - 1; line > 0; line--) {
			uint64_t other = next(worker) % line, kept = worker->memory[line * step];
			worker->memory[line * step] = worker->memory[other * step];
			worker->memory[other * step] = kept;
		}
	}
}

static void *run(void *argument)
{
	Worker *worker = argument;
	prctl(PR_SET_TIMERSLACK, 1);
	prepare(worker);
	for (;;) {
		work(worker, drawn(worker, on_us));
		if (off_us)
			rest(drawn(worker, off_us));
	}
	return NULL;
}

/* A child for each piece of work. */
static void fork_for_ever(Worker *worker)
{
	for (;;) {
		pid_t pid = fork();
		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			work(worker, drawn(worker, on_us));
			_exit(0);
		}
		if (pid > 0)
			waitpid(pid, NULL, 0);
		next(worker);
		if (off_us || pid < 0)
			rest(drawn(worker, off_us ? off_us : 10000));
	}
}

static void join(char *files)
{
	for (char *file = strtok(files, ","); file; file = strtok(NULL, ",")) {
		int group = open(file, O_WRONLY | O_CLOEXEC);
		if (group < 0 || write(group, "0", 1) != 1) {
			perror(file);
			exit(1);
		}
		close(group);
	}
}

int main(int arguments, char **argument)
{
	if (arguments != 8) {
		fprintf(stderr, "usage: load JOIN KIND COUNT ON_US OFF_US JITTER SEED\n");
		return 2;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (strcmp(argument[1], "-"))
		join(argument[1]);
	kind = argument[2];
	count = atol(argument[3]), on_us = atol(argument[4]), off_us = atol(argument[5]), jitter = atol(argument[6]);
	uint64_t seed = strtoull(argument[7], NULL, 10) * 2654435761u + 88172645463325252ull;
	Worker *workers = calloc(count, sizeof(Worker));
	for (long number = 0; number < count; number++)
		workers[number].random = seed + number * 0x9e3779b97f4a7c15ull;
	printf("ready\n");
	fflush(stdout);
	if (!strcmp(kind, "sleep") || !strcmp(kind, "fork"))
		for (long number = 1; number < count; number++)
			if (fork() == 0) {
				prctl(PR_SET_PDEATHSIG, SIGKILL);
				workers += number;
				break;
			}
	if (!strcmp(kind, "sleep"))
		for (;;)
			pause();
	if (!strcmp(kind, "fork"))
		fork_for_ever(workers);
	for (long number = 1; number < count; number++) {
		pthread_t thread;
		if (pthread_create(&thread, NULL, run, workers + number))
			return 1;
	}
	run(workers);
}
