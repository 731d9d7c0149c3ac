.PHONY: generate lint test race bench demo ci

generate: ## make the API's Go and the kernels' assembly again
	go run github.com/bufbuild/buf/cmd/buf@v1.75.0 generate
	go generate ./kernel/...

lint:
	go vet ./...
	go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0 run ./...
	go run github.com/bufbuild/buf/cmd/buf@v1.75.0 lint

test:
	go test ./...

race:
	go test -race ./...

bench: ## measure against the peers; writes docs/benchmarks.md
	go run ./bench

demo:
	go run ./cmd/engram demo

ci: ## all that CI checks; installs what it needs
	bash .ci/run
