// The conformance suite that Dapr has for its own bindings, against `guesthouse serve --component`.
//
// The suite wants Go objects: Dapr's own client side for pluggable components is between it and the socket. The guest
// is one that answers with what it was given.
package conformance

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	contrib "github.com/dapr/components-contrib/bindings"
	suite "github.com/dapr/components-contrib/tests/conformance/bindings"
	"github.com/dapr/dapr/pkg/components/bindings"
	"github.com/dapr/kit/logger"
	"github.com/stretchr/testify/require"
)

const manifest = `
[app]
name = "conformance"
[guests.echo]
module = "%s"
function = "echo"
[component]
name = "guests"
replies = ["echo"]
`

// root is the repository.
func root(t *testing.T) string {
	folder, err := filepath.Abs("../..")
	require.NoError(t, err)
	return folder
}

// serve starts the component and returns its socket; the component ends with the test, by the book.
func serve(t *testing.T) string {
	folder, err := os.MkdirTemp("", "gh-") // short: a socket's path has 107 bytes at most
	require.NoError(t, err)
	program := os.Getenv("GUESTHOUSE")
	if program == "" {
		program = filepath.Join(root(t), ".venv/bin/guesthouse")
	}
	guests := os.Getenv("GUESTHOUSE_GUESTS")
	if guests == "" {
		guests = filepath.Join(root(t), "guests")
	}
	text := []byte(fmt.Sprintf(manifest, filepath.Join(guests, "echo/echo.wasm")))
	require.NoError(t, os.WriteFile(filepath.Join(folder, "guesthouse.toml"), text, 0o600))

	command := exec.Command(program, "serve", "--port", "0")
	command.Dir = folder
	command.Env = append(os.Environ(), "DAPR_COMPONENTS_SOCKETS_FOLDER="+folder)
	command.Stderr = os.Stderr
	require.NoError(t, command.Start())
	t.Cleanup(func() {
		require.NoError(t, command.Process.Signal(syscall.SIGTERM))
		require.NoError(t, command.Wait(), "it should end with 0")
		require.NoFileExists(t, filepath.Join(folder, "guests.sock"))
		require.NoError(t, os.RemoveAll(folder))
	})

	socket := filepath.Join(folder, "guests.sock")
	require.Eventually(t, func() bool {
		_, err := os.Stat(socket)
		return err == nil
	}, time.Minute, 50*time.Millisecond, "no socket")
	return socket
}

// inputAsDaprdHasIt ends the context of Read before it closes the binding, as daprd does. Dapr's client side does not end
// the stream by itself, and waits for it.
type inputAsDaprdHasIt struct {
	contrib.InputBinding
	cancel context.CancelFunc
}

func (b *inputAsDaprdHasIt) Read(ctx context.Context, handler contrib.Handler) error {
	ctx, b.cancel = context.WithCancel(ctx)
	return b.InputBinding.Read(ctx, handler)
}

func (b *inputAsDaprdHasIt) Close() error {
	b.cancel()
	return b.InputBinding.Close()
}

func TestBindings(t *testing.T) {
	socket := serve(t)
	log := logger.NewLogger("conformance")
	operations := []string{"operations", "read", "create", "echo"}
	config, err := suite.NewTestConfig("guests", operations, map[string]any{
		"outputData": "café \x00 and bytes",
	})
	require.NoError(t, err)

	properties := map[string]string{"guest": "echo", "replies": "echo", "direction": "input, output"}
	input := &inputAsDaprdHasIt{InputBinding: bindings.NewGRPCInputBinding(log, socket)}
	suite.ConformanceTests(t, properties, input, bindings.NewGRPCOutputBinding(log, socket), config)
}
