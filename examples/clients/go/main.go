// Command digits classifies a digit with generated stubs.
// Arguments: address, image; both may be left out.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	pb "interlock.example/digits/gen"
)

func main() {
	address, path := "localhost:8001", "../../images/digit-7.f32"
	if len(os.Args) > 1 {
		address = os.Args[1]
	}
	if len(os.Args) > 2 {
		path = os.Args[2]
	}
	pixels, err := os.ReadFile(path)
	check(err)
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	check(err)
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	one := &pb.InferParameter{ParameterChoice: &pb.InferParameter_Int64Param{Int64Param: 1}}
	answer, err := pb.NewGRPCInferenceServiceClient(connection).ModelInfer(ctx, &pb.ModelInferRequest{
		ModelName: "digits",
		Inputs: []*pb.ModelInferRequest_InferInputTensor{
			{Name: "image", Datatype: "FP32", Shape: []int64{1, 64}},
		},
		Outputs: []*pb.ModelInferRequest_InferRequestedOutputTensor{
			{Name: "probabilities", Parameters: map[string]*pb.InferParameter{"classification": one}},
		},
		RawInputContents: [][]byte{pixels},
	})
	check(err)
	// A BYTES tensor of one element: four bytes of length, then value:index:label.
	parts := strings.SplitN(string(answer.RawOutputContents[0][4:]), ":", 3)
	fmt.Printf("digit: %s (%s)\n", parts[2], parts[0])
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
