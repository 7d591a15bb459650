module guests/go_http_wasm

go 1.24

require github.com/http-wasm/http-wasm-guest-tinygo v0.4.0
