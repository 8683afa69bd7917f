/*
 * main.c: the program cascade-sim: databases on simulated machines, crashed at any moment.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/campaign.h"

/* Read by jemalloc, where that is the allocator: memory that a machine has given back is the next one's. */
extern const char *malloc_conf;
const char *malloc_conf = "dirty_decay_ms:-1,muzzy_decay_ms:-1";

static const char usage[] = "cascade-sim: runs databases on simulated machines, a different one for each "
			    "seed, crashes them at any\n"
			    "moment, and checks what is found afterwards.\n"
			    "\n"
			    "  --seeds N        so many seeds (100)\n"
			    "  --from K         beginning with this one (1)\n"
			    "  --seed K         this one alone, telling what it stands for\n"
			    "  --state FILE     adds what was seen to what earlier stretches saw; from 500 "
			    "seeds on every kind of\n"
			    "                   fault must have happened\n"
			    "  --seconds N      begins no seed after that time\n"
			    "  --keep-going     goes on after a failure\n"
			    "  --shrink         looks for the smallest plan that still fails\n"
			    "  --hash           prints a hash of all that happened, for each seed\n"
			    "  --quiet          prints failures only\n"
			    "what a failing seed's plan is cut down to:\n"
			    "  --operations N  --clients N  --rounds N  --images N (a round)  --image N "
			    "(this alone)  --no-images\n"
			    "  --without FAULT  FAULT one of:";

static _Noreturn void tell_usage(FILE *to, int status)
{
	(void)fprintf(to, "%s", usage);
	for (unsigned fault = 0; fault < SIM_FAULT_COUNT; fault++)
		(void)fprintf(to, "%s%s", fault % 7 == 0 ? "\n    " : " ",
			      sim_fault_name((enum sim_fault)fault));
	(void)fprintf(to, "\n");
	exit(status);
}

static uint64_t parse_number(const char *text)
{
	char *end;
	uint64_t number = strtoull(text, &end, 0);
	if (*text == '\0' || *end != '\0') {
		(void)fprintf(stderr, "'%s' is no number\n", text);
		exit(2);
	}
	return number;
}

static uint32_t parse_fault(const char *text)
{
	enum sim_fault fault = sim_fault_find(text);
	if (fault == SIM_FAULT_COUNT) {
		(void)fprintf(stderr, "there is no fault '%s'\n", text);
		tell_usage(stderr, 2);
	}
	return 1u << fault;
}

static const struct option options[] = {
	{ "seeds", required_argument, NULL, 'n' },
	{ "from", required_argument, NULL, 'f' },
	{ "seed", required_argument, NULL, 's' },
	{ "state", required_argument, NULL, 't' },
	{ "seconds", required_argument, NULL, 'T' },
	{ "keep-going", no_argument, NULL, 'k' },
	{ "shrink", no_argument, NULL, 'S' },
	{ "hash", no_argument, NULL, 'H' },
	{ "quiet", no_argument, NULL, 'q' },
	{ "operations", required_argument, NULL, 'o' },
	{ "clients", required_argument, NULL, 'c' },
	{ "rounds", required_argument, NULL, 'r' },
	{ "images", required_argument, NULL, 'i' },
	{ "image", required_argument, NULL, 'I' },
	{ "no-images", no_argument, NULL, 'N' },
	{ "without", required_argument, NULL, 'w' },
	{ "verbose", no_argument, NULL, 'v' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

/* False: it is one of the plan's limits. */
static bool take_campaign_option(struct campaign *campaign, int which, bool *single)
{
	switch (which) {
	case 'n':
		campaign->seeds = parse_number(optarg);
		return true;
	case 's':
		*single = true;
		campaign->seeds = 1;
		campaign->from = parse_number(optarg);
		return true;
	case 'f':
		campaign->from = parse_number(optarg);
		return true;
	case 't':
		campaign->state = optarg;
		return true;
	case 'T':
		campaign->seconds_max = (unsigned)parse_number(optarg);
		return true;
	case 'k':
		campaign->keep_going = true;
		return true;
	case 'S':
		campaign->shrink = true;
		return true;
	case 'H':
		campaign->hash = true;
		return true;
	case 'q':
		campaign->quiet = true;
		return true;
	case 'v':
		sim_failure_verbose();
		return true;
	default:
		return false;
	}
}

static void take_limit(struct plan_limits *limits, int which)
{
	switch (which) {
	case 'o':
		limits->operations = (uint32_t)parse_number(optarg);
		break;
	case 'c':
		limits->clients = (uint32_t)parse_number(optarg);
		break;
	case 'r':
		limits->rounds = (uint32_t)parse_number(optarg);
		break;
	case 'i':
		limits->images = (uint32_t)parse_number(optarg);
		break;
	case 'I':
		limits->images_only = (uint32_t)parse_number(optarg);
		break;
	case 'N':
		limits->no_images = true;
		break;
	case 'w':
		limits->without |= parse_fault(optarg);
		break;
	case 'h':
		tell_usage(stdout, 0);
	default:
		tell_usage(stderr, 2);
	}
}

int main(int argc, char **argv)
{
	struct campaign campaign = { .program = argv[0], .from = 1, .seeds = 100 };
	struct tally tally;
	bool single = false;
	int which;
	while ((which = getopt_long(argc, argv, "", options, NULL)) != -1)
		if (!take_campaign_option(&campaign, which, &single))
			take_limit(&campaign.limits, which);
	if (optind != argc)
		tell_usage(stderr, 2);
	if (single && !campaign.quiet) {
		struct plan plan;
		plan_draw(&plan, campaign.from, &campaign.limits);
		plan_print(&plan, stdout);
	}
	return campaign_run(&campaign, &tally) == 0 ? 0 : 1;
}
