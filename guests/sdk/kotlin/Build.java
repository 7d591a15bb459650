import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import org.jetbrains.kotlin.cli.common.ExitCode;
import org.jetbrains.kotlin.cli.js.KotlinWasmCompiler;

/**
 * Compiles the guests of a folder, each a file NAME.kt, to NAME.wasm. Kotlin has no Maven plugin for WebAssembly. Its
 * compiler makes a library of sources first, and then a module of the library; here all runs share one Java machine.
 *
 * <p>java -cp COMPILER Build.java STANDARD_LIBRARY GUESTS OUT
 */
class Build {
    public static void main(String[] arguments) throws IOException {
        String standard = arguments[0], out = arguments[2];
        library("dapr", sources(Path.of("src")), standard, out);
        String libraries = standard + File.pathSeparator + Path.of(out, "dapr.klib");
        for (Path guest : sources(Path.of(arguments[1]))) {
            String name = guest.getFileName().toString().replaceFirst("\\.kt$", "");
            library(name, List.of(guest), libraries, out);
            Path klib = Path.of(out, name + ".klib");
            run(name, List.of("-Xinclude=" + klib, "-Xir-produce-js", "-Xir-dce"), libraries, out);
        }
    }

    private static List<Path> sources(Path folder) throws IOException {
        try (Stream<Path> files = Files.list(folder)) {
            return files.filter(file -> file.toString().endsWith(".kt")).sorted().toList();
        }
    }

    private static void library(String name, List<Path> sources, String libraries, String out) {
        run(name, sources.stream().map(Path::toString).toList(), libraries, out);
    }

    private static void run(String name, List<String> what, String libraries, String out) {
        List<String> all = new ArrayList<>(List.of("-Xwasm-target=wasm-wasi", "-Werror", "-libraries", libraries));
        all.add("-opt-in=kotlin.wasm.ExperimentalWasmInterop");
        all.add("-opt-in=kotlin.wasm.unsafe.UnsafeWasmMemoryApi");
        all.addAll(List.of("-ir-output-dir", out, "-ir-output-name", name));
        all.addAll(what);
        ExitCode code = new KotlinWasmCompiler().exec(System.err, all.toArray(new String[0]));
        if (code != ExitCode.OK) {
            System.exit(code.getCode());
        }
    }
}
