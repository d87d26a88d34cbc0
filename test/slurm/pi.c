/* SPDX-License-Identifier: Apache-2.0 */
/* Pi by all ranks together; each says where it is. */
#include <mpi.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    enum { STEPS = 2000000 };
    int rank, ranks, len;
    double mine = 0, pi = 0;
    char name[MPI_MAX_PROCESSOR_NAME];

    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    MPI_Get_processor_name(name, &len);
    for (int i = rank; i < STEPS; i += ranks) {
        double x = (i + 0.5) / STEPS;
        mine += 4 / (1 + x * x) / STEPS;
    }
    MPI_Reduce(&mine, &pi, 1, MPI_DOUBLE, MPI_SUM, 0, MPI_COMM_WORLD);
    printf("rank %d of %d on %s\n", rank, ranks, name);
    if (rank == 0)
        printf("pi is about %.9f\n", pi);
    MPI_Finalize();
    return 0;
}
