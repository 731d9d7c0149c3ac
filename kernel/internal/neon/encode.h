// The vector instructions that Go's assembler doesn't know, as words. Arguments
// are register numbers in Go's order, sources first, so that FSUB_4S(m, n, d) is
// n − m like VSUB Vm, Vn, Vd. The comment over each macro is the instruction in
// Arm's notation; encode_test.go has the GNU assembler check that they agree.

// fadd v{d}.4s, v{n}.4s, v{m}.4s
#define FADD_4S(m, n, d) WORD $(0x4E20D400 | (m)<<16 | (n)<<5 | (d))
// fadd v{d}.2d, v{n}.2d, v{m}.2d
#define FADD_2D(m, n, d) WORD $(0x4E60D400 | (m)<<16 | (n)<<5 | (d))
// fsub v{d}.4s, v{n}.4s, v{m}.4s
#define FSUB_4S(m, n, d) WORD $(0x4EA0D400 | (m)<<16 | (n)<<5 | (d))
// fsub v{d}.2d, v{n}.2d, v{m}.2d
#define FSUB_2D(m, n, d) WORD $(0x4EE0D400 | (m)<<16 | (n)<<5 | (d))
// fmul v{d}.4s, v{n}.4s, v{m}.4s
#define FMUL_4S(m, n, d) WORD $(0x6E20DC00 | (m)<<16 | (n)<<5 | (d))
// fmul v{d}.2d, v{n}.2d, v{m}.2d
#define FMUL_2D(m, n, d) WORD $(0x6E60DC00 | (m)<<16 | (n)<<5 | (d))
// fmla v{d}.4s, v{n}.4s, v{m}.4s
#define FMLA_4S(m, n, d) WORD $(0x4E20CC00 | (m)<<16 | (n)<<5 | (d))
// fmla v{d}.2d, v{n}.2d, v{m}.2d
#define FMLA_2D(m, n, d) WORD $(0x4E60CC00 | (m)<<16 | (n)<<5 | (d))
// fmla v{d}.4s, v{n}.4s, v{m}.s[{i}]
#define FMLA_4S_AT(i, m, n, d) WORD $(0x4F801000 | ((i)&1)<<21 | ((i)>>1)<<11 | (m)<<16 | (n)<<5 | (d))
// fmax v{d}.4s, v{n}.4s, v{m}.4s
#define FMAX_4S(m, n, d) WORD $(0x4E20F400 | (m)<<16 | (n)<<5 | (d))
// fmaxv s{d}, v{n}.4s
#define FMAXV_4S(n, d) WORD $(0x6E30F800 | (n)<<5 | (d))
// fmin v{d}.2d, v{n}.2d, v{m}.2d
#define FMIN_2D(m, n, d) WORD $(0x4EE0F400 | (m)<<16 | (n)<<5 | (d))
// fcmge v{d}.4s, v{n}.4s, v{m}.4s
#define FCMGE_4S(m, n, d) WORD $(0x6E20E400 | (m)<<16 | (n)<<5 | (d))
// fcmgt v{d}.2d, v{n}.2d, v{m}.2d
#define FCMGT_2D(m, n, d) WORD $(0x6EE0E400 | (m)<<16 | (n)<<5 | (d))
// faddp s{d}, v{n}.2s
#define FADDP_2S(n, d) WORD $(0x7E30D800 | (n)<<5 | (d))
// faddp d{d}, v{n}.2d
#define FADDP_2D(n, d) WORD $(0x7E70D800 | (n)<<5 | (d))
// fcvtl v{d}.2d, v{n}.2s
#define FCVTL(n, d) WORD $(0x0E617800 | (n)<<5 | (d))
// fcvtl2 v{d}.2d, v{n}.4s
#define FCVTL2(n, d) WORD $(0x4E617800 | (n)<<5 | (d))
// fcvtn v{d}.2s, v{n}.2d
#define FCVTN(n, d) WORD $(0x0E616800 | (n)<<5 | (d))
// fcvtn2 v{d}.4s, v{n}.2d
#define FCVTN2(n, d) WORD $(0x4E616800 | (n)<<5 | (d))
