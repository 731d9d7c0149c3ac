// Package bert embeds text by a sentence encoder of BERT's architecture (Devlin et
// al., "BERT", NAACL 2019; Reimers & Gurevych, "Sentence-BERT", EMNLP 2019), in Go
// on package kernel: all-MiniLM-L6-v2, BGE, E5, GTE's first generation and others.
//
// A model is a directory of the files that Hugging Face's model pages offer:
//
//	config.json                        the architecture; required
//	model.safetensors                  the weights, F32, F16 or BF16; required
//	tokenizer.json, or vocab.txt       the vocabulary; one of them is required
//	tokenizer_config.json              lower case or not, where there is no tokenizer.json
//	modules.json, N_Pooling/config.json   pooling and normalisation; without: mean, norm 1
//	sentence_bert_config.json          how many tokens of a text count
//	config_sentence_transformers.json  prefixes of queries and documents
//
// None of these is trusted: every declared size is checked against the file's own
// before memory is taken.
//
// The vectors are those of the sentence-transformers library, to 1e-4 a component
// (rounding differs). A text's vector depends in its last bits on the instruction set,
// never on the batch it came in.
package bert
