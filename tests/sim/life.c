#include "sim/life.h"

#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "sim/caller.h"
#include "sim/check.h"
#include "sim/failure.h"
#include "sim/recovery.h"

enum { LIFE_LENGTHS = 7 }; /* up to so many powers of two of operations */

struct lives {
	const struct plan *plan;
	struct machine *machine;
	struct model *model; /* of this life */
	struct random random;
	struct client *clients;
	struct camera camera;
	uint64_t numbers; /* of images nobody asks for by number */
	uint32_t found[MODEL_KEYS_MAX];
};

/* Some operations of each client, or one, with nothing that goes wrong. */
static void live(struct lives *lives)
{
	uint64_t seed = random_next(&lives->random);
	uint32_t operations = 1 + (uint32_t)random_below(&lives->random,
							 1ull << random_below(&lives->random, LIFE_LENGTHS));
	for (uint32_t i = 0; i < lives->plan->clients; i++) {
		client_init(&lives->clients[i], i, lives->machine, lives->model, seed);
		lives->clients[i].operations = 1 + operations / lives->plan->clients;
	}
	stepped_run_clients(lives->machine->stepped, "client", client_run, lives->clients,
			    sizeof(*lives->clients), lives->plan->clients);
}

/* The crash that ends a life: at some moment of it, or when all is done. */
static struct image end_life(struct lives *lives)
{
	bool worst = random_below(&lives->random, 2) == 0;
	camera_start(&lives->camera, lives->machine, lives->model, random_next(&lives->random), worst ? 0 : 1,
		     &lives->numbers);
	live(lives);
	if (lives->camera.count == 0)
		camera_take_worst(&lives->camera);
	camera_stop(&lives->camera);
	return lives->camera.images[0];
}

static void be_born(struct lives *lives, const struct image *image, uint64_t *trace)
{
	struct machine *before = lives->machine;
	struct machine *machine =
		machine_create(lives->plan, before->tally, image->disk, random_next(&lives->random));
	cascade_status status = machine_open(machine);
	if (status != CASCADE_OK)
		sim_fail("the image does not open: %s (%s)", cascade_strerror(status),
			 cascade_error_message());
	struct model_question question = {
		.promise = image->kind == SIMULATED_POWER ? MODEL_POWER : MODEL_PROCESS,
		.promised_until = image->moment,
		.issued_until = image->moment,
	};
	bool thorough = random_below(&lives->random, 4) == 0;
	check_database(machine, lives->model, &question, thorough, lives->found);
	machine_enter(before);
	(void)machine_close(before);
	*trace = random_mix(*trace ^ machine_destroy(before));
	lives->machine = machine;
	machine_enter(machine);
	model_rebase(lives->model, lives->found);
}

struct machine *lives_run(struct machine *machine, const struct model *model, const uint32_t *found,
			  uint64_t seed, uint64_t number, uint64_t *trace)
{
	struct lives *lives = calloc(1, sizeof(*lives));
	if (lives == NULL)
		abort();
	lives->plan = machine->plan;
	lives->machine = machine;
	lives->model = model_fork(model, found);
	lives->random = random_stream(seed);
	lives->clients = calloc(lives->plan->clients, sizeof(*lives->clients));
	if (lives->clients == NULL)
		abort();
	uint64_t count = 1 + random_below(&lives->random, lives->plan->lives);
	for (uint64_t i = 1; i <= count; i++) {
		sim_failure_where("image %llu, life %llu after it", (unsigned long long)number,
				  (unsigned long long)i);
		struct image image = end_life(lives);
		sim_failure_where("image %llu, %s of life %llu after it at moment %llu",
				  (unsigned long long)number,
				  image.kind == SIMULATED_POWER ? "loss of power" : "kill",
				  (unsigned long long)i, (unsigned long long)image.moment);
		be_born(lives, &image, trace);
		lives->machine->tally->events[TALLY_LIVES]++;
	}
	machine = lives->machine;
	model_free(lives->model);
	free(lives->model);
	free(lives->clients);
	free(lives);
	return machine;
}
