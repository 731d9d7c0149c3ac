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
// fcmgt v{d}.4s, v{n}.4s, v{m}.4s
#define FCMGT_4S(m, n, d) WORD $(0x6EA0E400 | (m)<<16 | (n)<<5 | (d))
// fdiv v{d}.4s, v{n}.4s, v{m}.4s
#define FDIV_4S(m, n, d) WORD $(0x6E20FC00 | (m)<<16 | (n)<<5 | (d))
// fcvtns v{d}.4s, v{n}.4s
#define FCVTNS_4S(n, d) WORD $(0x4E21A800 | (n)<<5 | (d))
// scvtf v{d}.4s, v{n}.4s
#define SCVTF_4S(n, d) WORD $(0x4E21D800 | (n)<<5 | (d))
// sxtl v{d}.8h, v{n}.8b
#define SXTL_8H(n, d) WORD $(0x0F08A400 | (n)<<5 | (d))
// sxtl2 v{d}.8h, v{n}.16b
#define SXTL2_8H(n, d) WORD $(0x4F08A400 | (n)<<5 | (d))
// sxtl v{d}.4s, v{n}.4h
#define SXTL_4S(n, d) WORD $(0x0F10A400 | (n)<<5 | (d))
// sxtl2 v{d}.4s, v{n}.8h
#define SXTL2_4S(n, d) WORD $(0x4F10A400 | (n)<<5 | (d))
// smlal v{d}.4s, v{n}.4h, v{m}.4h
#define SMLAL_4S(m, n, d) WORD $(0x0E608000 | (m)<<16 | (n)<<5 | (d))
// smlal2 v{d}.4s, v{n}.8h, v{m}.8h
#define SMLAL2_4S(m, n, d) WORD $(0x4E608000 | (m)<<16 | (n)<<5 | (d))
// umax v{d}.4s, v{n}.4s, v{m}.4s
#define UMAX_4S(m, n, d) WORD $(0x6EA06400 | (m)<<16 | (n)<<5 | (d))
// umaxv s{d}, v{n}.4s
#define UMAXV_4S(n, d) WORD $(0x6EB0A800 | (n)<<5 | (d))
// xtn v{d}.4h, v{n}.4s
#define XTN_4H(n, d) WORD $(0x0E612800 | (n)<<5 | (d))
// xtn2 v{d}.8h, v{n}.4s
#define XTN2_8H(n, d) WORD $(0x4E612800 | (n)<<5 | (d))
// xtn v{d}.8b, v{n}.8h
#define XTN_8B(n, d) WORD $(0x0E212800 | (n)<<5 | (d))
// xtn2 v{d}.16b, v{n}.8h
#define XTN2_16B(n, d) WORD $(0x4E212800 | (n)<<5 | (d))
// ucvtf v{d}.4s, v{n}.4s
#define UCVTF_4S(n, d) WORD $(0x6E21D800 | (n)<<5 | (d))
// fcvtl v{d}.4s, v{n}.4h
#define FCVTL_4S(n, d) WORD $(0x0E217800 | (n)<<5 | (d))
// fcvtl2 v{d}.4s, v{n}.8h
#define FCVTL2_4S(n, d) WORD $(0x4E217800 | (n)<<5 | (d))
// fcvtn v{d}.4h, v{n}.4s
#define FCVTN_4H(n, d) WORD $(0x0E216800 | (n)<<5 | (d))
// fcvtn2 v{d}.8h, v{n}.4s
#define FCVTN2_8H(n, d) WORD $(0x4E216800 | (n)<<5 | (d))
// fcmeq v{d}.4s, v{n}.4s, v{m}.4s
#define FCMEQ_4S(m, n, d) WORD $(0x4E20E400 | (m)<<16 | (n)<<5 | (d))
// shll v{d}.4s, v{n}.4h, #16
#define SHLL_4S(n, d) WORD $(0x2E613800 | (n)<<5 | (d))
// shll2 v{d}.4s, v{n}.8h, #16
#define SHLL2_4S(n, d) WORD $(0x6E613800 | (n)<<5 | (d))
