// Clients of Java: each sends one GET. Prints `NAME TAB note`.
import java.net.*;
import java.net.http.*;

public class Clients {
    static void note(String name, String program, String call) {
        System.out.println(name + "\t" + program + "; recorded: " + call);
    }

    public static void main(String[] args) throws Exception {
        String url = args[0], java = "Java " + System.getProperty("java.version");
        var any = HttpResponse.BodyHandlers.ofString();
        HttpClient.newHttpClient().send(HttpRequest.newBuilder(URI.create(url + "/java-httpclient")).build(), any);
        note("java-httpclient", java + ", java.net.http", "HttpClient.newHttpClient().send(..), which asks for h2c");
        HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build()
            .send(HttpRequest.newBuilder(URI.create(url + "/java-httpclient-http1")).build(), any);
        note("java-httpclient-http1", java + ", java.net.http", "version(HTTP_1_1)");
        new URL(url + "/java-urlconnection").openStream().readAllBytes();
        note("java-urlconnection", java + ", HttpURLConnection", "new URL(url).openStream()");
        try (var client = org.apache.http.impl.client.HttpClients.createDefault()) {
            client.execute(new org.apache.http.client.methods.HttpGet(url + "/apache-httpclient")).close();
        }
        note("apache-httpclient", "Apache HttpClient 4.5.14, " + java, "HttpClients.createDefault().execute(new HttpGet(url))");
        var call = new okhttp3.OkHttpClient().newCall(new okhttp3.Request.Builder().url(url + "/okhttp").build());
        call.execute().close();
        note("okhttp", "OkHttp " + okhttp3.internal.Version.userAgent().split("/")[1] + ", " + java, "new OkHttpClient().newCall(..).execute()");
        System.exit(0);
    }
}
