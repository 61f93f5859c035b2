package digits;

import com.google.protobuf.ByteString;
import inference.GRPCInferenceServiceGrpc;
import inference.GrpcService.InferParameter;
import inference.GrpcService.ModelInferRequest;
import inference.GrpcService.ModelInferRequest.InferInputTensor;
import inference.GrpcService.ModelInferRequest.InferRequestedOutputTensor;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.TimeUnit;

/** Classifies a digit with generated stubs. Arguments: address, image; both may be left out. */
public final class Main {
    public static void main(String[] args) throws Exception {
        var address = args.length > 0 ? args[0] : "localhost:8001";
        var path = args.length > 1 ? args[1] : "../../images/digit-7.f32";
        var one = InferParameter.newBuilder().setInt64Param(1).build();
        var request = ModelInferRequest.newBuilder()
                .setModelName("digits")
                .addInputs(InferInputTensor.newBuilder()
                        .setName("image").setDatatype("FP32").addShape(1).addShape(64))
                .addOutputs(InferRequestedOutputTensor.newBuilder()
                        .setName("probabilities").putParameters("classification", one))
                .addRawInputContents(ByteString.copyFrom(Files.readAllBytes(Path.of(path))))
                .build();
        var channel = Grpc.newChannelBuilder(address, InsecureChannelCredentials.create()).build();
        try {
            var answer = GRPCInferenceServiceGrpc.newBlockingStub(channel)
                    .withDeadlineAfter(10, TimeUnit.SECONDS)
                    .modelInfer(request);
            // A BYTES tensor of one element: four bytes of length, then value:index:label.
            var parts = answer.getRawOutputContents(0).substring(4).toStringUtf8().split(":", 3);
            System.out.printf("digit: %s (%s)%n", parts[2], parts[0]);
        } finally {
            channel.shutdownNow().awaitTermination(5, TimeUnit.SECONDS);
        }
    }
}
