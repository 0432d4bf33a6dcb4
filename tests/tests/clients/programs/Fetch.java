// java Fetch.java METHOD URL [FILE]: looks with GET, then asks, over HTTP/2 where that is offered.

import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Path;
import java.util.regex.Pattern;

class Fetch {
    public static void main(String[] args) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        URI url = URI.create(args[1]);
        HttpRequest look = HttpRequest.newBuilder(url.resolve(".")).build();
        System.out.println("GET " + client.send(look, BodyHandlers.ofString()).statusCode());
        HttpRequest.BodyPublisher body =
            args.length > 2 ? BodyPublishers.ofFile(Path.of(args[2])) : BodyPublishers.noBody();
        HttpRequest ask = HttpRequest.newBuilder(url).method(args[0], body).build();
        HttpResponse<String> answer = client.send(ask, BodyHandlers.ofString());
        String type = answer.headers().firstValue("content-type").orElse("null");
        System.out.println(args[0] + " " + answer.statusCode() + " " + type);
        var problem = Pattern.compile("\"type\": ?\"([^\"]*)\"").matcher(answer.body());
        if (answer.statusCode() == 403 && problem.find()) System.out.println(problem.group(1));
    }
}
