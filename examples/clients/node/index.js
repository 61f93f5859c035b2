// Classify a digit; the protos are loaded at run time.
// Arguments: address, image; both may be left out.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { credentials, loadPackageDefinition } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const [address = "localhost:8001", path = here("../../images/digit-7.f32")] = process.argv.slice(2);
const protos = loadSync("grpc_service.proto", { includeDirs: [here("../../../protos")] });
const { GRPCInferenceService } = loadPackageDefinition(protos).inference;

const request = {
  modelName: "digits",
  inputs: [{ name: "image", datatype: "FP32", shape: [1, 64] }],
  outputs: [{ name: "probabilities", parameters: { classification: { int64Param: 1 } } }],
  rawInputContents: [readFileSync(path)],
};
const client = new GRPCInferenceService(address, credentials.createInsecure());
client.modelInfer(request, { deadline: Date.now() + 10_000 }, (error, answer) => {
  client.close();
  if (error) throw error;
  // A BYTES tensor of one element: four bytes of length, then value:index:label.
  const [probability, , ...label] = answer.rawOutputContents[0].toString("utf8", 4).split(":");
  console.log(`digit: ${label.join(":")} (${probability})`);
});
