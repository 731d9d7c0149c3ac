package kernel

//go:generate go -C _asm run . -set avx2 -pkg avx2 -out ../internal/avx2/avx2_amd64.s -stubs ../internal/avx2/stubs_amd64.go
//go:generate go -C _asm run . -set avx512 -pkg avx512 -out ../internal/avx512/avx512_amd64.s -stubs ../internal/avx512/stubs_amd64.go
//go:generate go -C _asm run . -set roofline -pkg roofline -out ../roofline/roofline_amd64.s -stubs ../roofline/stubs_amd64.go
