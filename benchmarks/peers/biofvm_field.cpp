// Times BioFVM's own solver for diffusion and decay (and its bulk sources and sinks) on a given start.
//
//   biofvm_field START.bin END.bin nx ny nz substances dt steps with_sources spacing
//
// START.bin holds, as doubles: diffusion coefficients and decay rates (one per substance); the start, and if with_sources
// production and loss, each of shape (substances, nz, ny, nx). END.bin gets the end in the same order. Prints CPU seconds
// of the steps (the first step, which sets the solver up, is not timed and belongs to the steps).
//
// Compile with BioFVM's sources (MathCancer/PhysiCell, folder BioFVM): see benchmarks/tissue_field.py.

#include "BioFVM.h"
#include <omp.h>

#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <vector>

using namespace BioFVM;

static std::vector<double> production, loss;
static int substances, voxels;

// With a target of 1e9 and a tiny rate, supply is the production, and its loss below rounding.
static const double FAR = 1e9;
static void supply(Microenvironment*, int v, std::vector<double>* to) {
  for (int s = 0; s < substances; s++) (*to)[s] = production[(size_t)s * voxels + v] / FAR;
}
static void target(Microenvironment*, int, std::vector<double>* to) {
  for (int s = 0; s < substances; s++) (*to)[s] = FAR;
}
static void uptake(Microenvironment*, int v, std::vector<double>* to) {
  for (int s = 0; s < substances; s++) (*to)[s] = loss[(size_t)s * voxels + v];
}

static void take(FILE* file, std::vector<double>& values, size_t count) {
  values.resize(count);
  if (fread(values.data(), sizeof(double), count, file) != count) { fprintf(stderr, "start file too short\n"); exit(1); }
}

int main(int argc, char** argv) {
  if (argc != 11) { fprintf(stderr, "usage: see the head of this file\n"); return 2; }
  int nx = atoi(argv[3]), ny = atoi(argv[4]), nz = atoi(argv[5]);
  substances = atoi(argv[6]);
  double dt = atof(argv[7]), h = atof(argv[10]);
  int steps = atoi(argv[8]), with_sources = atoi(argv[9]);
  voxels = nx * ny * nz;
  std::vector<double> diffusion, decay, start;
  FILE* in = fopen(argv[1], "rb");
  if (!in) { perror(argv[1]); return 1; }
  take(in, diffusion, substances);
  take(in, decay, substances);
  take(in, start, (size_t)substances * voxels);
  if (with_sources) { take(in, production, start.size()); take(in, loss, start.size()); }
  fclose(in);

  omp_set_num_threads(1);
  Microenvironment M;
  M.name = "field";
  M.set_density(0, "s0", "dimensionless", diffusion[0], decay[0]);
  for (int s = 1; s < substances; s++) M.add_density("s" + std::to_string(s), "dimensionless", diffusion[s], decay[s]);
  M.resize_space(0, nx * h, 0, ny * h, 0, nz * h, nx, ny, nz);
  M.diffusion_decay_solver = nz == 1 ? diffusion_decay_solver__constant_coefficients_LOD_2D
                                     : diffusion_decay_solver__constant_coefficients_LOD_3D;
  M.bulk_supply_rate_function = supply;
  M.bulk_supply_target_densities_function = target;
  M.bulk_uptake_rate_function = uptake;
  if ((int)M.number_of_voxels() != voxels) { fprintf(stderr, "voxels differ\n"); return 1; }
  for (int v = 0; v < voxels; v++)
    for (int s = 0; s < substances; s++) M(v)[s] = start[(size_t)s * voxels + v];

  clock_t began = 0;
  for (int i = 0; i < steps; i++) {
    if (i == 1) began = clock();
    if (with_sources) M.simulate_bulk_sources_and_sinks(dt);
    M.simulate_diffusion_decay(dt);
  }
  double seconds = (double)(clock() - began) / CLOCKS_PER_SEC;

  FILE* out = fopen(argv[2], "wb");
  if (!out) { perror(argv[2]); return 1; }
  for (int s = 0; s < substances; s++)
    for (int v = 0; v < voxels; v++) fwrite(&M(v)[s], sizeof(double), 1, out);
  fclose(out);
  printf("CPU %.9f\n", seconds);
  return 0;
}
