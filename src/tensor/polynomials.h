/* polynomials: the constants of exp and erf, the same for the plain and the vector variants. SPDX-License-Identifier: Apache-2.0
 * exp(x) = 2^n (1 + r + r² P(r)), n = round(x log2 e), r = x − n ln 2, P of degree 5 fitted on |r| <= 0.3466: relative error 6.5e-8.
 * erf(x) = x + x S(x²) for |x| <= 1;  1 − exp(B(|x|)) above, B fitted to ln erfc on [0.98, 4]: absolute error 5.7e-8. */
#ifndef TENSOR_POLYNOMIALS_H
#define TENSOR_POLYNOMIALS_H

#define EXP_LOWEST -87.33654f /* below: 0 */
#define EXP_HIGHEST 88.37626f /* above: infinity */
#define EXP_LOG2E 1.44269504f
#define EXP_LN2_HIGH 0.693359375f
#define EXP_LN2_LOW -2.12194440e-4f
#define EXP_P0 0.5f
#define EXP_P1 0.16666667f
#define EXP_P2 0.041666467f
#define EXP_P3 0.008333298f
#define EXP_P4 0.0013933649f
#define EXP_P5 0.00019899281f

#define ERF_S0 0.12837917f
#define ERF_S1 -0.37612626f
#define ERF_S2 0.11283597f
#define ERF_S3 -0.026854329f
#define ERF_S4 0.005189312f
#define ERF_S5 -0.0008018855f
#define ERF_S6 7.8824974e-05f
#define ERF_END 4.0f
#define ERF_B0 0.00030421905f
#define ERF_B1 -1.1301705f
#define ERF_B2 -0.63193107f
#define ERF_B3 -0.10998356f
#define ERF_B4 0.02636756f
#define ERF_B5 -0.004741167f
#define ERF_B6 0.0005929608f
#define ERF_B7 -4.561221e-05f
#define ERF_B8 1.6151035e-06f

#endif
