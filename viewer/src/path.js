// The camera path: poses in equal steps of time, interpolated between neighbours.
import { Matrix4, Quaternion, Vector3 } from "three";

export function poseFromRows(rows) {
  const matrix = new Matrix4().set(...rows);
  const pose = { position: new Vector3(), quaternion: new Quaternion() };
  matrix.decompose(pose.position, pose.quaternion, new Vector3());
  return pose;
}

export class CameraPath {
  constructor(rows, seconds) {
    this.poses = rows.map(poseFromRows);
    this.seconds = seconds;
  }

  get isPlayable() {
    return this.poses.length > 1 && this.seconds > 0;
  }

  /** Puts camera where the path is after that many seconds; the path repeats. */
  apply(camera, seconds) {
    const last = this.poses.length - 1;
    const place = ((seconds / this.seconds) % 1) * last;
    const index = Math.min(Math.floor(place), last - 1);
    const [from, to] = [this.poses[index], this.poses[index + 1]];
    camera.position.lerpVectors(from.position, to.position, place - index);
    camera.quaternion.slerpQuaternions(from.quaternion, to.quaternion, place - index);
  }
}
