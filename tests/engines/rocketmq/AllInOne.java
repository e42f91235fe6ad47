import org.apache.rocketmq.namesrv.NamesrvStartup;
import org.apache.rocketmq.proxy.ProxyStartup;

/**
 * A whole RocketMQ in one JVM, for tests and rehearsals: the name server, and the proxy in local mode, which embeds the
 * broker. Upstream has no main class for this. The argument is a folder with namesrv.conf, broker.conf and rmq-proxy.json,
 * the second argument the name server's address.
 */
public final class AllInOne {
    private AllInOne() {}

    public static void main(String[] args) throws Exception {
        String folder = args[0];
        NamesrvStartup.main0(new String[] {"-c", folder + "/namesrv.conf"});
        ProxyStartup.main(new String[] {
            "-pm", "local", "-n", args[1], "-bc", folder + "/broker.conf", "-pc", folder + "/rmq-proxy.json"
        });
    }
}
